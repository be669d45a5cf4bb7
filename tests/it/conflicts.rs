//! `conflicts resolve` at a terminal: the conflicts one after another, with a letter for each.

use crate::daemon::{CONTACTS, Site};
use crate::portal::Portal;
use crate::terminal::Terminal;

#[test]
fn conflicts_are_decided_one_after_another_at_a_terminal() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let objects = format!("{CONTACTS}phone = \"phone\"\n");
    let site = Site::with(&portal, "[conflicts]\npolicy = \"manual\"\n", &objects);
    site.once();
    site.execute(
        "UPDATE contacts SET city = 'Rome', phone = '1', first_name = 'Ada', last_name = 'L.'",
    );
    portal.edit(
        id,
        &[
            ("city", "Oslo"),
            ("phone", "2"),
            ("firstname", "Anna"),
            ("lastname", "Lee"),
        ],
    );
    site.once();
    let open = "SELECT group_concat(property) FROM (SELECT property FROM sync_conflicts WHERE resolved_at IS NULL ORDER BY property)";
    assert_eq!(
        site.text(open).as_deref(),
        Some("city,firstname,lastname,phone")
    );

    let mut terminal = Terminal::open();
    let mut command = site.command(&["conflicts", "resolve", "--object", "contacts"]);
    let mut child = terminal.start(&mut command);
    for (place, letter) in [("(1/4)", "l"), ("(2/4)", "r"), ("(3/4)", "e")] {
        terminal.until(place);
        terminal.press(&format!("{letter}\n"));
    }
    terminal.until("value (nothing: go back");
    terminal.press("a third\n");
    terminal.until("(4/4)");
    terminal.press("s\n");
    terminal.until("3 conflicts are decided");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));

    site.once();
    assert_eq!(
        site.number("SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL"),
        1
    );
    let decided = "SELECT group_concat(property || ' ' || winner || ' ' || CASE winner WHEN 'local' THEN local_value
                       WHEN 'remote' THEN remote_value ELSE resolution END, ', ')
                   FROM (SELECT * FROM sync_conflicts WHERE resolved_at IS NOT NULL ORDER BY id)";
    let decided = site.text(decided).expect("three");
    let sides: Vec<&str> = decided
        .split(", ")
        .map(|one| one.split(' ').nth(1).unwrap_or(""))
        .collect();
    assert_eq!(sides, ["local", "remote", "value"], "{decided}");
    assert!(decided.ends_with("value:a third"), "{decided}");
    for property in ["city", "phone", "firstname", "lastname"] {
        let column = site.text(&format!(
            "SELECT column_name FROM sync_fields WHERE property = '{property}'"
        ));
        let here = site.text(&format!(
            "SELECT {} FROM contacts",
            column.expect("a column")
        ));
        let is_open =
            "SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL AND property = ";
        if site.number(&format!("{is_open}'{property}'")) == 0 {
            assert_eq!(portal.value(id, property), here, "{property}");
        }
    }
}
