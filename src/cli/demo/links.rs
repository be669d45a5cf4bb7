//! The part of the tour about how records hang together: one JOIN, an association by INSERT, a merge.

use anyhow::Context as _;

use super::Tour;

/// A deal with its company and a contact of it.
const ONE_DEAL: &str = "\
SELECT deals.dealname, companies.name, group_concat(contacts.first_name || ' ' || contacts.last_name, ', ') \
FROM deals \
JOIN deals_companies ON deals_companies.deals_local_id = deals.local_id AND deals_companies.is_primary \
JOIN companies ON companies.local_id = deals_companies.companies_local_id \
JOIN deals_contacts ON deals_contacts.deals_local_id = deals.local_id \
JOIN contacts ON contacts.local_id = deals_contacts.contacts_local_id \
GROUP BY deals.local_id ORDER BY deals.local_id LIMIT 1";

/// A deal and a contact that have nothing to do with each other.
const STRANGERS: &str = "\
SELECT deals.local_id, contacts.local_id, deals.hs_id, contacts.hs_id FROM deals, contacts \
WHERE NOT EXISTS (SELECT 1 FROM deals_contacts \
    WHERE deals_local_id = deals.local_id AND contacts_local_id = contacts.local_id) \
ORDER BY deals.local_id, contacts.local_id LIMIT 1";

impl Tour {
    /// Shows associations, where the demo has the records for it: a few records make no deal.
    pub(super) async fn links(&mut self) -> anyhow::Result<()> {
        if self.program.number("SELECT count(*) FROM deals")? == 0 {
            return Ok(());
        }
        self.wait(
            "the first pass over the associations",
            "SELECT min(last_association_pass_at IS NOT NULL) FROM sync_status WHERE object IN ('contacts', 'deals')",
        )
        .await?;
        if let [deal, company, contacts] = self.program.rows(ONE_DEAL)?.concat().as_slice() {
            self.told.push(format!(
                "HubSpot -> SQLite   one JOIN: the deal \"{deal}\" is with {company}, by {contacts}"
            ));
        }
        self.new_link().await
    }

    async fn new_link(&mut self) -> anyhow::Result<()> {
        let strangers = self.program.rows(STRANGERS)?.concat();
        let [deal, contact, deal_id, contact_id] = strangers.as_slice() else {
            return Ok(());
        };
        self.program.execute(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('deals', ?1, 'contacts', ?2)",
            &[deal, contact],
        )?;
        let took = self
            .wait("an association", "SELECT count(*) = 0 FROM sync_outbox")
            .await?;
        let (from, to): (u64, u64) = (deal_id.parse()?, contact_id.parse()?);
        let links = self.portal().links_of(("deals", from), "contacts");
        anyhow::ensure!(
            links.iter().any(|link| link.to_id == to),
            "deal {from} was not associated with contact {to}"
        );
        self.told.push(format!(
            "SQLite -> HubSpot   INSERT INTO associations … linked deal {from} with contact {to} after {} ms",
            took.as_millis()
        ));
        Ok(())
    }

    /// Two records become one in HubSpot, and so do their rows.
    pub(super) async fn merge(&mut self) -> anyhow::Result<()> {
        let ids = self
            .program
            .rows(
                "SELECT hs_id FROM contacts WHERE hs_id IS NOT NULL ORDER BY local_id DESC LIMIT 2",
            )?
            .concat();
        let [primary, other] = ids.as_slice() else {
            return Ok(());
        };
        let (primary, other): (u64, u64) = (primary.parse()?, other.parse()?);
        let now = self.now_ms();
        let survivor = self.portal().merge("contacts", primary, other, now);
        let survivor = survivor.context("HubSpot did not merge two contacts")?;
        let took = self
            .wait(
                "a merge",
                &format!(
                    "SELECT count(*) = 1 AND max(hs_id) = {survivor} FROM contacts WHERE hs_id IN ({primary}, {other}, {survivor})"
                ),
            )
            .await?;
        self.told.push(format!(
            "HubSpot -> SQLite   records {primary} and {other} were merged; one row is left after {:.1} s, the other is kept in sync_history",
            took.as_secs_f64()
        ));
        Ok(())
    }
}
