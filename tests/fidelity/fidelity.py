"""HubSpot's official client against the simulator.

What the client parses must be what HubSpot sends: ids, times, paging, 207 answers, error bodies. Each check is a
function; the first mismatch ends the run with a traceback. Requests go to the loopback address alone.
"""

import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import hubspot
from hubspot.crm.associations.v4 import (
    AssociationSpec,
    BatchInputPublicAssociationMultiArchive,
    BatchInputPublicAssociationMultiPost,
    BatchInputPublicDefaultAssociationMultiPost,
    BatchInputPublicFetchAssociationsBatchRequest,
)
from hubspot.crm.associations.v4.exceptions import ApiException as AssociationsException
from hubspot.crm.associations.v4.schema import (
    PublicAssociationDefinitionCreateRequest,
    PublicAssociationDefinitionUpdateRequest,
)
from hubspot.crm.contacts import (
    BatchInputSimplePublicObjectBatchInput,
    BatchInputSimplePublicObjectBatchInputForCreate,
    BatchInputSimplePublicObjectBatchInputUpsert,
    BatchInputSimplePublicObjectId,
    BatchReadInputSimplePublicObjectId,
    PublicMergeInput,
    PublicObjectSearchRequest,
    SimplePublicObjectInput,
    SimplePublicObjectInputForCreate,
)
from hubspot.crm.contacts.exceptions import ApiException as ContactsException
from hubspot.crm.owners.exceptions import ApiException as OwnersException
from hubspot.crm.properties import PropertyCreate, PropertyUpdate
from hubspot.crm.properties.exceptions import ApiException as PropertiesException
from hubspot.crm.schemas import ObjectSchemaEgg, ObjectTypeDefinitionPatch
from hubspot.crm.schemas.exceptions import ApiException as SchemasException

TOKEN = "pat-na1-fidelity"
CONTACTS = 1234


class Simulator:
    """The binary under test, with a scenario of its own."""

    def __init__(self, binary, scenario):
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name) / "scenario.json"
        path.write_text(json.dumps(scenario), encoding="utf-8")
        command = [binary, "simulate", "--records", str(CONTACTS), "--seed", "5", "--token", TOKEN, "--faults", str(path)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        first = self.process.stdout.readline().split()
        assert first[:2] == ["listening", "on"], first
        return hubspot.Client.create(access_token=TOKEN, host=first[2])

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(timeout=10)
        self.folder.cleanup()
        assert code == 0, f"simulate ended with {code}"


def refused(kind, call):
    """The error that a call must end in, as (status, body)."""
    try:
        call()
    except kind as error:
        return error.status, json.loads(error.body)
    raise AssertionError("the call was not refused")


def create(properties, trace=None):
    return {"properties": properties, "associations": [], "objectWriteTraceId": trace}


def check_paging(client):
    seen, after = [], None
    while True:
        page = client.crm.contacts.basic_api.get_page(limit=100, after=after, properties=["email", "vip"])
        seen += [int(record.id) for record in page.results]
        assert all(record.properties["email"] for record in page.results)
        if page.paging is None:
            break
        after = page.paging.next.after
    assert len(seen) == CONTACTS and seen == sorted(set(seen)), len(seen)
    assert len(client.crm.companies.get_all()) == CONTACTS // 2
    record = page.results[0]
    assert isinstance(record.created_at, datetime.datetime) and record.archived is False
    assert record.properties["hs_object_id"] == record.id


def check_one_record(client):
    api = client.crm.contacts.basic_api
    made = api.create(SimplePublicObjectInputForCreate(properties={"email": "Grace@Example.com"}, associations=[]))
    assert made.properties["email"] == "grace@example.com"
    changed = api.update(made.id, SimplePublicObjectInput(properties={"firstname": "Grace", "credit_limit": "42.50"}))
    assert changed.properties["credit_limit"] == "42.5" and changed.updated_at >= made.updated_at
    found = api.get_by_id("grace@example.com", id_property="email", properties=["firstname"],
                          properties_with_history=["firstname"])
    assert found.id == made.id
    entry = found.properties_with_history["firstname"][0]
    assert (entry.value, entry.source_type) == ("Grace", "INTEGRATION")
    api.archive(made.id)
    assert refused(ContactsException, lambda: api.get_by_id(made.id))[0] == 404
    assert api.get_by_id(made.id, archived=True).archived_at is not None


def check_conflict(client):
    api = client.crm.contacts.basic_api
    body = SimplePublicObjectInputForCreate(properties={"email": "ada@example.com"}, associations=[])
    first = api.create(body)
    status, error = refused(ContactsException, lambda: api.create(body))
    assert (status, error["category"]) == (409, "CONFLICT")
    assert error["message"] == f"Contact already exists. Existing ID: {first.id}"


def check_batches(client):
    api = client.crm.contacts.batch_api
    inputs = [create({"email": "b1@example.com"}, "t1"), create({"email": "no address"}, "t2"),
              create({"email": "b3@example.com"}, "t3")]
    mixed = api.create(BatchInputSimplePublicObjectBatchInputForCreate(inputs=inputs))
    assert mixed.num_errors == 1 and mixed.status == "COMPLETE"
    assert {record.object_write_trace_id for record in mixed.results} == {"t1", "t3"}
    assert mixed.errors[0].context["objectWriteTraceId"] == ["t2"]
    assert mixed.errors[0].category == "VALIDATION_ERROR"
    plain = [create({"email": "b4@example.com"}), create({"email": "no address"})]
    whole = BatchInputSimplePublicObjectBatchInputForCreate(inputs=plain)
    status, error = refused(ContactsException, lambda: api.create(whole))
    assert status == 400 and error["message"].startswith("Property values were not valid: [")
    ids = [record.id for record in mixed.results]
    read = api.read(BatchReadInputSimplePublicObjectId(
        inputs=[{"id": record_id} for record_id in [*ids, "17"]], properties=["email"], properties_with_history=[]))
    assert {record.id for record in read.results} == set(ids)
    assert read.errors[0].context["ids"] == ["17"] and read.errors[0].category == "OBJECT_NOT_FOUND"
    twice = BatchInputSimplePublicObjectBatchInput(inputs=[{"id": ids[0], "properties": {"city": "Oslo"}}] * 2)
    assert refused(ContactsException, lambda: api.update(twice))[0] == 400
    updated = api.update(BatchInputSimplePublicObjectBatchInput(
        inputs=[{"id": record_id, "properties": {"city": "Oslo"}} for record_id in ids]))
    assert {record.properties["city"] for record in updated.results} == {"Oslo"}
    api.archive(BatchInputSimplePublicObjectId(inputs=[{"id": record_id} for record_id in ids]))


def check_properties_and_upsert(client):
    api = client.crm.properties.core_api
    names = {prop.name: prop for prop in api.get_all("contacts").results}
    assert names["lastmodifieddate"].modification_metadata.read_only_value is True
    assert names["hubspot_owner_id"].type == "enumeration" and names["hubspot_owner_id"].options == []
    key = PropertyCreate(name="fidelity_key", label="key", type="string", field_type="text",
                         group_name="contactinformation", has_unique_value=True, hidden=True)
    assert api.create("contacts", key).has_unique_value is True
    status, error = refused(PropertiesException, lambda: api.create("contacts", key))
    assert (status, error["category"]) == (409, "OBJECT_ALREADY_EXISTS")
    assert api.update("contacts", "fidelity_key", PropertyUpdate(label="the key")).label == "the key"
    batch = client.crm.contacts.batch_api
    for is_new in (True, False):
        answer = batch.upsert(BatchInputSimplePublicObjectBatchInputUpsert(
            inputs=[{"id": "F-1", "idProperty": "fidelity_key", "properties": {"firstname": "Key"}}]))
        assert [record.new for record in answer.results] == [is_new]
    wrong = BatchInputSimplePublicObjectBatchInputUpsert(
        inputs=[{"id": "x", "idProperty": "firstname", "properties": {"lastname": "y"}}])
    status, error = refused(ContactsException, lambda: batch.upsert(wrong))
    assert status == 400 and "non-unique 0-1 property firstname" in error["message"]
    api.archive("contacts", "fidelity_key")
    assert refused(PropertiesException, lambda: api.get_by_name("contacts", "fidelity_key"))[0] == 404


def search_once_visible(client, filters, expected):
    request = PublicObjectSearchRequest(filter_groups=[{"filters": filters}], properties=["email"], limit=200,
                                        sorts=["hs_object_id"], after="0")
    deadline = time.monotonic() + 10
    while True:
        answer = client.crm.contacts.search_api.do_search(request)
        if answer.total == expected or time.monotonic() > deadline:
            return answer


def check_search(client):
    made = client.crm.contacts.basic_api.create(
        SimplePublicObjectInputForCreate(properties={"email": "lag@example.com"}, associations=[]))
    by_email = [{"propertyName": "email", "operator": "EQ", "value": "lag@example.com"}]
    answer = search_once_visible(client, by_email, 1)
    assert answer.total == 1 and answer.results[0].id == made.id
    everything = PublicObjectSearchRequest(filter_groups=[], properties=[], limit=200, sorts=[], after="0")
    page = client.crm.contacts.search_api.do_search(everything)
    assert page.total >= CONTACTS and len(page.results) == 200 and page.paging.next.after == "200"
    nothing = search_once_visible(client, [{"propertyName": "hs_lastmodifieddate", "operator": "GT", "value": "0"}], 0)
    assert nothing.total == 0, "contacts have no hs_lastmodifieddate, and nobody complains"
    beyond = PublicObjectSearchRequest(filter_groups=[], properties=[], limit=200, sorts=[], after="9900")
    assert refused(ContactsException, lambda: client.crm.contacts.search_api.do_search(beyond))[0] == 400


def check_merge(client):
    api = client.crm.contacts.basic_api
    made = [api.create(SimplePublicObjectInputForCreate(properties={"email": f"m{n}@example.com"}, associations=[]))
            for n in (1, 2)]
    winner = api.merge(PublicMergeInput(primary_object_id=made[0].id, object_id_to_merge=made[1].id))
    for old in made:
        found = api.get_by_id(old.id, properties=["hs_merged_object_ids"])
        assert found.id == winner.id
        assert old.id in found.properties["hs_merged_object_ids"].split(";")


def check_account(client):
    owners = client.crm.owners.owners_api.get_page(limit=100)
    assert all(owner.id and owner.email for owner in owners.results)
    assert refused(OwnersException, lambda: client.crm.owners.owners_api.get_by_id(1, id_property="id"))[0] == 404
    pipelines = client.crm.pipelines.pipelines_api.get_all("deals").results
    assert pipelines[0].id == "default" and pipelines[0].stages[0].metadata["probability"]


def kinds(types):
    """A pair's types as sets of (category, id, label)."""
    return {(one.category, one.type_id, one.label) for one in types}


def check_associations(client):
    api, pair = client.crm.associations.v4.basic_api, ("contacts", "companies")
    contact, lonely = (record.id for record in client.crm.contacts.basic_api.get_page(limit=2).results)
    first, second = (record.id for record in client.crm.companies.basic_api.get_page(limit=2).results)
    assert api.get_page("contacts", contact, "companies").results == []
    made = api.create_default("contacts", contact, "companies", first)
    assert made.status == "COMPLETE"
    assert {(one._from.id, one.association_spec.association_type_id) for one in made.results} == {
        (contact, 279), (first, 280), (contact, 1), (first, 2)}
    primary = AssociationSpec(association_category="HUBSPOT_DEFINED", association_type_id=1)
    labelled = api.create("contacts", contact, "companies", second, [primary])
    assert (str(labelled.from_object_id), str(labelled.to_object_id)) == (contact, second)
    assert (labelled.from_object_type_id, labelled.labels) == ("0-1", ["Primary"])
    page = api.get_page("contacts", contact, "companies", limit=500)
    seen = {str(one.to_object_id): kinds(one.association_types) for one in page.results}
    plain = ("HUBSPOT_DEFINED", 279, None)
    assert seen == {first: {plain}, second: {plain, ("HUBSPOT_DEFINED", 1, "Primary")}}, seen
    batch = client.crm.associations.v4.batch_api
    asked = BatchInputPublicFetchAssociationsBatchRequest(inputs=[{"id": contact}, {"id": lonely}])
    read = batch.get_page(*pair, asked)
    assert [one._from.id for one in read.results] == [contact] and len(read.results[0].to) == 2
    assert read.num_errors == 1 and read.errors[0].category == "OBJECT_NOT_FOUND"
    assert read.errors[0].context["fromObjectId"] == [lonely]
    wrong = AssociationSpec(association_category="USER_DEFINED", association_type_id=3)
    status, error = refused(AssociationsException, lambda: api.create("contacts", contact, "companies", first, [wrong]))
    assert (status, error["context"]["associationSpec"]) == (400, ["USER_DEFINED=3"])
    api.archive("contacts", contact, "companies", first)
    assert len(api.get_page("contacts", contact, "companies").results) == 1
    check_association_batches(batch, (contact, lonely), second)
    found = client.crm.contacts.basic_api.get_by_id(lonely, associations=["companies"])
    assert found.associations is None


def check_association_batches(batch, contacts, company):
    pair = ("contacts", "companies")
    ends = [{"from": {"id": contact}, "to": {"id": company}} for contact in contacts]
    made = batch.create_default(*pair, BatchInputPublicDefaultAssociationMultiPost(inputs=ends))
    assert made.status == "COMPLETE" and len(made.results) >= 4
    spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1}
    typed = BatchInputPublicAssociationMultiPost(inputs=[{**one, "types": [spec]} for one in ends])
    answer = batch.create(*pair, typed)
    assert {str(one.from_object_id) for one in answer.results} == set(contacts)
    batch.archive_labels(*pair, typed)
    asked = BatchInputPublicFetchAssociationsBatchRequest(inputs=[{"id": contact} for contact in contacts])
    read = batch.get_page(*pair, asked)
    assert all(kinds(one.to[0].association_types) == {("HUBSPOT_DEFINED", 279, None)} for one in read.results)
    gone = BatchInputPublicAssociationMultiArchive(
        inputs=[{"from": {"id": contact}, "to": [{"id": company}]} for contact in contacts])
    batch.archive(*pair, gone)
    assert batch.get_page(*pair, asked).results == []


def check_labels(client):
    api, pair = client.crm.associations.v4.schema.definitions_api, ("contacts", "companies")
    new = PublicAssociationDefinitionCreateRequest(label="Adviser", name="adviser", inverse_label="Advised by")
    both = kinds(api.create(*pair, new).results)
    assert {label for _, _, label in both} == {"Adviser", "Advised by"}
    kind = next(type_id for _, type_id, label in both if label == "Adviser")
    api.update(*pair, PublicAssociationDefinitionUpdateRequest(association_type_id=kind, label="Consultant"))
    own = {one for one in kinds(api.get_all(*pair).results) if one[0] == "USER_DEFINED"}
    assert own == {("USER_DEFINED", kind, "Consultant")}
    api.remove(*pair, kind)
    assert {category for category, _, _ in kinds(api.get_all(*pair).results)} == {"HUBSPOT_DEFINED"}
    assert client.crm.associations.v4.schema.definition_configurations_api.get_all().results == []


def check_schemas(client):
    api = client.crm.schemas.core_api
    egg = ObjectSchemaEgg(
        name="machine", labels={"singular": "Machine", "plural": "Machines"}, primary_display_property="model",
        required_properties=["model"], searchable_properties=["model"], secondary_display_properties=[],
        associated_objects=["CONTACT"],
        properties=[{"name": "model", "label": "Model", "type": "string", "fieldType": "text"}])
    made = api.create(egg)
    assert made.object_type_id.startswith("2-") and made.fully_qualified_name.endswith("_machine")
    assert {(one.from_object_type_id, one.to_object_type_id) for one in made.associations} == {
        (made.object_type_id, "0-1"), ("0-1", made.object_type_id)}
    assert [one.name for one in api.get_all().results] == ["machine"]
    assert api.get_by_id("machine").required_properties == ["model"]
    assert api.update("machine", ObjectTypeDefinitionPatch(required_properties=[])).required_properties == []
    records = client.crm.objects.basic_api
    record = records.create("machine", {"properties": {"model": "M-1"}, "associations": []})
    found = records.get_by_id(made.object_type_id, record.id, properties=["model"])
    assert found.properties["model"] == "M-1" and found.properties["hs_createdate"]
    records.archive("machine", record.id)
    api.archive("machine")
    assert refused(SchemasException, lambda: api.get_by_id("machine"))[0] == 404


def check_limits(client):
    api = client.crm.contacts.basic_api
    for _ in range(10):
        _, status, headers = api.get_page_with_http_info(limit=1)
        assert status == 200
    assert headers["X-HubSpot-RateLimit-Max"] == "10" and headers["X-HubSpot-RateLimit-Remaining"] == "0"
    status, error = refused(ContactsException, lambda: api.get_page(limit=1))
    assert (status, error["policyName"]) == (429, "TEN_SECONDLY_ROLLING")
    assert error["errorType"] == "RATE_LIMIT"
    search = PublicObjectSearchRequest(filter_groups=[], properties=[], limit=1, sorts=[], after="0")
    for _ in range(5):
        _, _, headers = client.crm.contacts.search_api.do_search_with_http_info(search)
    assert not any("ratelimit" in name.lower() for name in headers), "search answers carry no rate headers"
    status, error = refused(ContactsException, lambda: client.crm.contacts.search_api.do_search(search))
    assert (status, error["message"]) == (429, "You have reached your secondly limit.")


def main(binary):
    calm = {"settings": {"limits_enabled": False, "index_delay_min_ms": 100, "index_delay_max_ms": 400}}
    checks = [check_paging, check_one_record, check_conflict, check_batches, check_properties_and_upsert, check_search,
              check_merge, check_account, check_associations, check_labels, check_schemas]
    with Simulator(binary, calm) as client:
        for check in checks:
            check(client)
            print(f"fidelity: {check.__name__} ok")
    with Simulator(binary, {"settings": {"burst_limit": 10}}) as client:
        check_limits(client)
        print("fidelity: check_limits ok")


if __name__ == "__main__":
    main(sys.argv[1])
