//! `init`: writes a mapping file from the portal's own schema, with a comment for each property.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Access;

use crate::app::init::{Draft, DraftObject, DraftPair, Extent, Wish, draft};
use crate::cli::args::InitArgs;
use crate::cli::format::{counted, printable, shortened};
use crate::cli::{ExitStatus, Unusable, WrongUsage};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Auth, ClientId, SecretSource};
use crate::model::name::TableName;
use crate::model::object::StandardObject;

/// Where the database lies on a machine that the package was installed on.
const SERVICE_FOLDER: &str = "/var/lib/hubsyncd";

/// Comments stand in a column of their own behind settings that are no longer.
const WIDEST: usize = 56;

/// A comment's letters, so that nobody has to scroll far.
const MOST_LETTERS: usize = 160;

/// The most of a property's options that a comment names.
const MOST_OPTIONS: usize = 8;

/// Writes the file, to `out` where no path is given; what else there is to say goes to `err`.
///
/// # Errors
/// The file is there already, HubSpot can't be asked, or nothing can be written.
pub async fn init(
    path: &Path,
    args: InitArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    if args.objects.iter().any(|name| name.trim().is_empty()) {
        return Err(WrongUsage {
            explanation: "`--objects` has an empty name".to_owned(),
            hint: "write names with commas in between, or leave it out".to_owned(),
        }
        .into());
    }
    if let Some(file) = &args.out {
        check_place(file)?;
    }
    let config = match path.exists() {
        true => config::load(path)?,
        false => config::unwritten(),
    };
    let wish = Wish {
        objects: args.objects,
        extent: match (args.minimal, args.all_properties) {
            (true, _) => Extent::Minimal,
            (false, true) => Extent::All,
            (false, false) => Extent::Sensible,
        },
        base_url: args.base_url,
    };
    let clock: Arc<dyn Clock> = SystemClock::new();
    let found = draft(config, &wish, &clock, &mut |doing| {
        // Whoever has closed standard error wants no progress.
        writeln!(err, "{}", printable(doing)).ok();
    })
    .await?;
    let text = rendered(&found, Path::new(SERVICE_FOLDER).is_dir());
    for note in &found.notes {
        writeln!(err, "{}", printable(note))?;
    }
    let Some(file) = &args.out else {
        out.write_all(text.as_bytes())?;
        return Ok(ExitStatus::Done);
    };
    let made = File::create_new(file).and_then(|mut made| made.write_all(text.as_bytes()));
    made.map_err(|error| match error.kind() == ErrorKind::AlreadyExists {
        true => exists(file),
        false => unwritable(file, &error),
    })?;
    let properties: usize = found.objects.iter().map(|object| object.fields.len()).sum();
    writeln!(
        err,
        "`{}` is written: {}, {}, {}",
        file.display(),
        counted(found.objects.len() as i64, "object", "objects"),
        counted(properties as i64, "property", "properties"),
        counted(found.pairs.len() as i64, "association", "associations")
    )?;
    writeln!(
        err,
        "look through it, then run `hubsyncd check --online --config {}`",
        file.display()
    )?;
    Ok(ExitStatus::Done)
}

/// Whether the file can be made is looked at before HubSpot is asked anything.
fn check_place(file: &Path) -> Result<(), Unusable> {
    if file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let missing = format!("there is no folder `{}`", folder.display());
        return Err(unwritable(file, &missing));
    }
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| unwritable(file, &std::io::Error::from(error)))
}

fn unwritable(file: &Path, why: &dyn std::fmt::Display) -> Unusable {
    Unusable {
        explanation: format!("can't write `{}`: {why}", file.display()),
        code: Some("file-not-writable"),
        hint: "give `--out` a path in a folder that is there and that you may write to",
    }
}

fn exists(file: &Path) -> Unusable {
    Unusable {
        explanation: format!("`{}` is there already", file.display()),
        code: Some("file-exists"),
        hint: "give another path behind `--out`, or move the file away: it is never written over",
    }
}

/// The whole file.
fn rendered(draft: &Draft, is_service: bool) -> String {
    let mut text = format!(
        "# What hubsyncd keeps in agreement: objects and properties of HubSpot portal {portal}, tables and columns here.\n\
         # Proposed by `hubsyncd init` from the portal's own schema. Take out what nobody needs, and rename columns (the text on the\n\
         # right) and tables as you like; then `hubsyncd check --online`. Every key is explained in docs/configuration.md.\n\n\
         [portal]\n# id = {portal}  # without the #, the token of another portal is refused\n",
        portal = draft.portal
    );
    if draft.base_url != config::unwritten().portal.base_url {
        line(
            &mut text,
            &format!("base_url = {}", quoted(&draft.base_url)),
            "",
        );
        let url: Option<http::Uri> = draft.base_url.parse().ok();
        let host = url.as_ref().and_then(http::Uri::host);
        if host.is_some_and(config::needs_leave) {
            line(&mut text, "allow_other_host = true", "the token goes there");
        }
    }
    line(
        &mut text,
        &format!("tier = {}", quoted(draft.tier.as_str())),
        "as HubSpot's answers tell",
    );
    text.push_str(&auth(&draft.auth));
    let database = match is_service {
        true => format!("{SERVICE_FOLDER}/crm.db"),
        false => "crm.db".to_owned(),
    };
    text.push_str("\n[database]\n");
    let where_it_is = match is_service {
        true => "",
        false => "beside this file",
    };
    line(
        &mut text,
        &format!("path = {}", quoted(&database)),
        where_it_is,
    );
    for one in &draft.objects {
        object(&mut text, one);
    }
    pairs(&mut text, draft);
    text
}

fn auth(auth: &Auth) -> String {
    match auth {
        Auth::Token(source) => format!("\n[auth]\naccess_token = {}\n", place(source)),
        Auth::OAuth(app) => {
            let id = match &app.client_id {
                ClientId::Written(id) => quoted(id),
                ClientId::Kept(source) => place(source),
            };
            format!(
                "\n[auth.oauth]\nclient_id = {id}\nclient_secret = {}\ntoken_key = {}\nredirect_uri = {}\n",
                place(&app.client_secret),
                place(&app.token_key),
                quoted(&app.redirect_uri)
            )
        }
    }
}

/// Where a secret lies, wherever the new file will stand.
fn place(source: &SecretSource) -> String {
    match source {
        SecretSource::File(file) => {
            let whole = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            SecretSource::File(whole).to_toml()
        }
        SecretSource::Env(_) | SecretSource::Credential(_) => source.to_toml(),
    }
}

fn object(text: &mut String, object: &DraftObject) {
    let key = &object.name.key;
    let key = match key.is_type_id() {
        true => quoted(key.as_str()),
        false => key.to_string(),
    };
    text.push('\n');
    if let Some(why) = &object.only_read {
        line(text, &format!("# {}", one_line(why)), "");
    }
    line(text, &format!("[objects.{key}]"), "");
    let name = object.name.key.as_str();
    // So that its name can't be taken for a slip of the pen.
    if StandardObject::spelled(name).is_none() && !object.name.key.is_type_id() {
        line(
            text,
            &format!("object = {}", quoted(name)),
            "an object of the portal's own",
        );
    }
    if let Some(table) = &object.name.table {
        line(text, &format!("table = {}", quoted(table.as_str())), "");
    }
    let is_pulled = object.only_read.is_some();
    if is_pulled {
        line(text, "direction = \"pull\"", "from HubSpot to SQLite only");
    }
    text.push('\n');
    line(text, &format!("[objects.{key}.properties]"), "");
    for (field, property) in &object.fields {
        let column = quoted(field.column.as_str());
        let pulls = field.is_pulled && !is_pulled && !object.is_read_only;
        let value = match pulls {
            true => format!("{{ column = {column}, direction = \"pull\" }}"),
            false => column,
        };
        let mut said = vec![match property.label.trim() {
            "" => property.name.clone(),
            label => label.to_owned(),
        }];
        let kind = property.to_definition().property_type();
        said.push(kind.to_string());
        if property.has_unique_value {
            said.push("unique".to_owned());
        }
        if field.is_pulled {
            said.push("HubSpot's own to write".to_owned());
        }
        let mut comment = said.join(", ");
        if !property.options.is_empty() {
            comment.push_str(": ");
            comment.push_str(&options(&property.options));
        }
        line(text, &format!("{} = {value}", property.name), &comment);
    }
}

/// The options of a property: what records hold, and what people see where that says more.
fn options(all: &[(String, String)]) -> String {
    let named = all.iter().take(MOST_OPTIONS).map(|(value, label)| {
        match value.eq_ignore_ascii_case(&label.replace(' ', "")) || label.is_empty() {
            true => value.clone(),
            false => format!("{value} ({label})"),
        }
    });
    let named: Vec<String> = named.collect();
    let rest = match all.len().saturating_sub(MOST_OPTIONS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{rest}", named.join(", "))
}

fn pairs(text: &mut String, draft: &Draft) {
    if draft.pairs.is_empty() {
        return;
    }
    text.push_str("\n# Which records belong together: rows of `associations`, and a view of each pair's name.\n[associations]\n");
    let tables = draft.objects.iter().map(|object| match &object.name.table {
        Some(table) => table.as_str().to_lowercase(),
        None => object.name.key.as_str().to_lowercase(),
    });
    let mut taken: BTreeSet<String> = tables.collect();
    for pair in &draft.pairs {
        let (from, to) = (pair.from.as_str(), pair.to.as_str());
        let key = key_of(pair, &mut taken);
        let labels = match pair.labels.as_slice() {
            [] => String::new(),
            labels => format!("labels: {}", labels.join(", ")),
        };
        let value = format!("{key} = {{ from = {}, to = {} }}", quoted(from), quoted(to));
        line(text, &value, &labels);
    }
}

/// A pair's name: that of its objects, where it is a word, nobody's own and no table's.
fn key_of(pair: &DraftPair, taken: &mut BTreeSet<String>) -> String {
    let of_both = format!("{}_{}", pair.from, pair.to);
    let apart = format!("pair_{of_both}").replace('-', "_");
    let numbered = (2..).map(|number| format!("{apart}_{number}"));
    let mut keys = [of_both, apart.clone()].into_iter().chain(numbered);
    let is_free = |key: &String| TableName::parse(key).is_ok() && taken.insert(key.to_lowercase());
    keys.find(is_free)
        .expect("one of more names than there are tables is free")
}

/// A line of TOML with its comment behind it.
fn line(text: &mut String, setting: &str, comment: &str) {
    let comment = shortened(&one_line(comment), MOST_LETTERS);
    let whole = match comment.as_str() {
        "" => setting.to_owned(),
        _ => format!("{setting:<WIDEST$} # {comment}"),
    };
    text.push_str(&whole);
    text.push('\n');
}

/// What people typed, as a part of a comment.
fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::ObjectType;

    #[test]
    fn options_name_the_label_where_it_says_more_and_no_more_than_anybody_reads() {
        let option = |value: &str, label: &str| (value.to_owned(), label.to_owned());
        let few = [option("lead", "Lead"), option("mql", "Marketing qualified")];
        assert_eq!(options(&few), "lead, mql (Marketing qualified)");
        let many: Vec<_> = (0..11)
            .map(|number| option(&number.to_string(), ""))
            .collect();
        assert!(options(&many).ends_with("7 and 3 more"));
    }

    #[test]
    fn a_pairs_name_is_no_tables_and_none_that_is_kept() {
        let mut taken = BTreeSet::from(["contacts_companies".to_owned()]);
        let mut key = |from: &str, to: &str| {
            let [from, to] = [from, to].map(|name| ObjectType::parse(name).expect("a name"));
            let labels = Vec::new();
            key_of(&DraftPair { from, to, labels }, &mut taken)
        };
        assert_eq!(key("contacts", "deals"), "contacts_deals");
        assert_eq!(key("contacts", "companies"), "pair_contacts_companies");
        assert_eq!(key("sqlite_x", "contacts"), "pair_sqlite_x_contacts");
        assert_eq!(key("2-7", "contacts"), "pair_2_7_contacts");
        assert_eq!(key("Contacts", "Deals"), "pair_Contacts_Deals");
        assert_eq!(key("CONTACTS", "DEALS"), "pair_CONTACTS_DEALS_2");
    }

    #[test]
    fn a_comment_that_people_typed_stays_one_line() {
        let mut text = String::new();
        line(
            &mut text,
            "city = \"city\"",
            "Town\n[objects.deals]\r# or \u{202e}city",
        );
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");
    }
}
