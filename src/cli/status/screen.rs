//! The screen of `status --watch`: what is drawn, and what a key means. It draws what it is given, and asks nobody for it.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::{about, colour_of, held_work, outbox_of, remedy_of_state, requests, state, table_of};
use crate::app::doctor::Colour;
use crate::cli::format::{counted, duration, moment, printable, shortened, thousands};
use crate::config::Drawing;
use crate::model::time::Timestamp;
use crate::store::commands::{Row, WatchedRows};

/// So many lines of what lies behind the state are shown: on 24 lines there must be room for the rest.
const MOST_CAUSES: usize = 4;

/// Longer values are cut: the commands show them whole.
const VALUE: usize = 24;

/// What a person can do from the screen, as the commands do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScreenAct {
    /// `outbox retry`.
    Retry(i64),
    /// `outbox discard`.
    Discard(i64),
    /// `outbox discard --hold`.
    TakeBack(i64),
    /// `outbox approve`.
    Approve(i64),
    /// `conflicts resolve --take`: `local` or `remote`.
    Resolve(i64, &'static str),
    /// The command of this name by `sync_commands`: `pause` or `resume`.
    Command(&'static str),
}

impl ScreenAct {
    fn question(&self) -> String {
        match self {
            Self::Retry(id) => format!("Send entry {id} again?"),
            Self::Discard(id) => format!("Give up the local change of entry {id}?"),
            Self::TakeBack(id) => format!("Take back what hold {id} holds?"),
            Self::Approve(id) => format!("Let go what hold {id} holds?"),
            Self::Resolve(id, "local") => format!("Take the mirror's value of conflict {id}?"),
            Self::Resolve(id, _) => format!("Take HubSpot's value of conflict {id}?"),
            Self::Command("pause") => "Pause the daemon, both ways?".to_owned(),
            Self::Command(_) => "Let the daemon go on?".to_owned(),
        }
    }

    /// What is said once it is written down.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Retry(id) => format!("entry {id} goes out again"),
            Self::Discard(id) => format!("entry {id} is given up"),
            Self::TakeBack(id) => format!("hold {id} is taken back"),
            Self::Approve(id) => format!("hold {id} is approved"),
            Self::Resolve(id, _) => format!("conflict {id} is decided"),
            Self::Command(command) => format!("{command} is written to `sync_commands`"),
        }
    }
}

/// What comes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyAnswer {
    /// Draw, and wait for the next one.
    Nothing,
    /// Carry it out.
    Carry(ScreenAct),
    /// Leave.
    Leave,
}

/// Something that waits for a person.
enum WaitingItem<'rows> {
    Hold(&'rows Row),
    Conflict(&'rows Row),
    Dead(&'rows Row),
}

/// The screen between two keys.
#[derive(Debug)]
pub(super) struct StatusScreen {
    drawing: Drawing,
    rows: Option<WatchedRows>,
    /// Why there are no rows, in the place of them.
    trouble: Option<String>,
    chosen: usize,
    asked: Option<ScreenAct>,
    /// What came of the last key.
    told: Option<String>,
    is_help: bool,
}

impl StatusScreen {
    pub(super) fn new(drawing: Drawing) -> Self {
        Self {
            drawing,
            rows: None,
            trouble: None,
            chosen: 0,
            asked: None,
            told: None,
            is_help: false,
        }
    }

    /// Takes what was read of the database, or why it could not be read.
    pub(super) fn take(&mut self, read: Result<WatchedRows, String>) {
        match read {
            Ok(rows) => (self.rows, self.trouble) = (Some(rows), None),
            Err(trouble) => (self.rows, self.trouble) = (None, Some(trouble)),
        }
        self.chosen = self.chosen.min(self.items().len().saturating_sub(1));
    }

    /// Says something in the last line, until the next key.
    pub(super) fn tell(&mut self, sentence: String) {
        self.told = Some(sentence);
    }

    /// What a key means here.
    pub(super) fn key(&mut self, key: KeyEvent) -> KeyAnswer {
        self.told = None;
        let letter = match key.code.as_char() {
            Some('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return KeyAnswer::Leave,
            letter => letter,
        };
        if let Some(act) = self.asked.take() {
            return match letter {
                Some('y' | 'Y') => KeyAnswer::Carry(act),
                _ => KeyAnswer::Nothing,
            };
        }
        let was_help = std::mem::take(&mut self.is_help);
        match letter {
            Some('q') => return KeyAnswer::Leave,
            _ if was_help => {}
            Some('?') => self.is_help = true,
            Some(letter @ ('r' | 'd' | 'a' | 'l' | 'h' | 'p')) => match self.act(letter) {
                Ok(act) => self.asked = Some(act),
                Err(sentence) => self.tell(sentence.to_owned()),
            },
            Some(_) => {}
            None if key.code.is_up() => self.chosen = self.chosen.saturating_sub(1),
            None if key.code.is_down() => {
                self.chosen = (self.chosen + 1).min(self.items().len().saturating_sub(1));
            }
            None => {}
        }
        KeyAnswer::Nothing
    }

    /// What a letter does to what is chosen, or why it does nothing.
    fn act(&self, letter: char) -> Result<ScreenAct, &'static str> {
        if letter == 'p' {
            let rows = self.rows.as_ref().ok_or("there is no database yet")?;
            // Not by the state: a hold, or a HubSpot that can't be reached, is told in place of a pause.
            return Ok(ScreenAct::Command(match rows.status.paused[..] {
                [] => "pause",
                [..] => "resume",
            }));
        }
        let items = self.items();
        let item = items.get(self.chosen).ok_or("nothing waits for you")?;
        let id = |row: &Row| row.number("id").unwrap_or(0);
        match (letter, item) {
            ('r', WaitingItem::Dead(entry)) => Ok(ScreenAct::Retry(id(entry))),
            ('r', _) => Err("r sends a dead entry again: choose one with the arrows"),
            ('d', WaitingItem::Dead(entry)) => Ok(ScreenAct::Discard(id(entry))),
            ('d', WaitingItem::Hold(hold)) => Ok(ScreenAct::TakeBack(id(hold))),
            ('d', _) => Err("d gives up a dead entry or a hold: choose one with the arrows"),
            ('a', WaitingItem::Hold(hold)) => Ok(ScreenAct::Approve(id(hold))),
            ('a', _) => Err("a lets a hold go: choose one with the arrows"),
            ('l', WaitingItem::Conflict(conflict)) => Ok(ScreenAct::Resolve(id(conflict), "local")),
            (_, WaitingItem::Conflict(conflict)) => Ok(ScreenAct::Resolve(id(conflict), "remote")),
            (_, _) => Err("l and h decide a conflict: choose one with the arrows"),
        }
    }

    /// What waits for a person: holds, conflicts, dead entries.
    fn items(&self) -> Vec<WaitingItem<'_>> {
        let Some(rows) = &self.rows else {
            return Vec::new();
        };
        let holds = rows.status.holds.iter();
        holds
            .filter(|hold| hold.text("approved_at").is_none())
            .map(WaitingItem::Hold)
            .chain(rows.conflicts.iter().map(WaitingItem::Conflict))
            .chain(rows.dead.iter().map(WaitingItem::Dead))
            .collect()
    }

    /// Draws all of it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>, now: Timestamp) {
        let area = frame.area();
        let width = usize::from(area.width);
        let head = self.head(width, now);
        let foot = area.height.saturating_sub(1);
        let mut top = 0;
        put(frame, &head, &mut top, foot);
        match &self.rows {
            _ if self.is_help => put(frame, &help(), &mut top, foot),
            None => {}
            Some(rows) => {
                let objects = self.objects(rows);
                let items = self.waiting(rows, width);
                let changes = changes(rows, width, now);
                let room = usize::from(foot.saturating_sub(top));
                let [objects_high, items_high, changes_high] =
                    heights(room, [objects.len(), items.len(), changes.len()]);
                put(frame, &cut(objects, objects_high), &mut top, foot);
                // The title stays, and what is chosen is always among what is shown.
                let first = (self.chosen + 2).saturating_sub(items_high.max(2));
                let shown: Vec<_> = items
                    .iter()
                    .take(1)
                    .chain(items.iter().skip(1 + first))
                    .take(items_high)
                    .cloned()
                    .collect();
                put(frame, &shown, &mut top, foot);
                put(frame, &cut(changes, changes_high), &mut top, foot);
            }
        }
        let mut last = foot;
        put(frame, &[self.foot()], &mut last, area.height);
    }

    /// State with its remedy, requests, queues.
    fn head(&self, width: usize, now: Timestamp) -> Vec<Line<'static>> {
        let Some(rows) = &self.rows else {
            let mut lines = vec![Line::from(self.of_state("stopped"))];
            let trouble = self.trouble.as_deref().unwrap_or("reading the database");
            lines.push(Line::from(shortened(trouble, width)));
            return lines;
        };
        let health = &rows.status.health;
        let state = state(health);
        let mut lines = vec![Line::from(vec![
            self.of_state(state),
            Span::raw(format!("  {}", about(health, now))),
        ])];
        for column in ["config_error", "last_error"] {
            if let Some(explanation) = health.text(column) {
                let line = format!("{}: {explanation}", column.replace('_', " "));
                lines.push(Line::from(shortened(&line, width)));
            }
        }
        if let Some(hint) = remedy_of_state(&rows.status) {
            lines.push(Line::styled(
                shortened(&format!("hint: {hint}"), width),
                Modifier::BOLD,
            ));
        }
        let causes = super::causes(&rows.status);
        for line in causes.iter().take(MOST_CAUSES) {
            lines.push(Line::from(shortened(line, width)));
        }
        if causes.len() > MOST_CAUSES {
            let more = causes.len() - MOST_CAUSES;
            lines.push(Line::from(format!(
                "and {more} more, see `hubsyncd status`"
            )));
        }
        lines.push(Line::from(format!("requests  {}", requests(health, now))));
        lines.push(Line::from(format!("quota     {}", quota(&rows.quota, now))));
        lines.push(Line::from(format!("queues    {}", queues(rows, now))));
        lines
    }

    fn of_state(&self, state: &str) -> Span<'static> {
        Span::styled(
            printable(state),
            self.coloured(colour_of(state)).add_modifier(Modifier::BOLD),
        )
    }

    fn coloured(&self, colour: Colour) -> Style {
        let colour = match (self.drawing, colour) {
            (Drawing::Plain, _) => return Style::new(),
            (Drawing::Coloured, Colour::Green) => Color::Green,
            (Drawing::Coloured, Colour::Yellow) => Color::Yellow,
            (Drawing::Coloured, Colour::Red) => Color::Red,
        };
        Style::new().fg(colour)
    }

    fn objects(&self, rows: &WatchedRows) -> Vec<Line<'static>> {
        // What fails stands first: where there is no room for all, it must not be among those that are left out.
        let mut objects = rows.status.objects.clone();
        let is_failing = |object: &Row| object.number("failing").unwrap_or(0) > 0;
        objects.sort_by_key(|object| !is_failing(object));
        let table = table_of(&objects).to_string();
        let mut lines: Vec<_> = table
            .lines()
            .map(|line| Line::from(line.to_owned()))
            .collect();
        if let Some(title) = lines.first_mut() {
            *title = title.clone().style(titled());
        }
        for (line, object) in lines.iter_mut().skip(1).zip(&objects) {
            if is_failing(object) {
                *line = line.clone().style(self.coloured(Colour::Red));
            }
        }
        lines
    }

    fn waiting(&self, rows: &WatchedRows, width: usize) -> Vec<Line<'static>> {
        let items = self.items();
        let sum = |column: &str| -> i64 {
            let objects = rows.status.objects.iter();
            objects.filter_map(|row| row.number(column)).sum()
        };
        let holds = items
            .iter()
            .filter(|item| matches!(item, WaitingItem::Hold(_)))
            .count();
        let title = format!(
            "waits for you: {}, {}, {} dead",
            counted(i64::try_from(holds).unwrap_or(i64::MAX), "hold", "holds"),
            counted(sum("conflicts"), "conflict", "conflicts"),
            thousands(sum("dead")),
        );
        let mut lines = vec![Line::styled(title, titled())];
        lines.extend(items.iter().enumerate().map(|(index, item)| {
            let line = shortened(&described(item), width);
            match index == self.chosen {
                true => Line::styled(line, Modifier::REVERSED),
                false => Line::from(line),
            }
        }));
        lines
    }

    /// The keys, or what is asked, or what came of it.
    fn foot(&self) -> Line<'static> {
        match (&self.asked, &self.told) {
            (Some(act), _) => Line::styled(
                format!("{} y yes, any other key no", act.question()),
                Modifier::REVERSED,
            ),
            (None, Some(told)) => Line::styled(printable(told), Modifier::BOLD),
            (None, None) => Line::styled(
                "↑↓ choose  r retry  d discard  a approve  l h resolve  p pause  ? help  q quit",
                Modifier::DIM,
            ),
        }
    }
}

fn titled() -> Style {
    Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
}

/// Writes lines from a row of the screen on, as far as there is room.
fn put(frame: &mut Frame<'_>, lines: &[Line<'_>], top: &mut u16, end: u16) {
    let area = frame.area();
    for line in lines {
        if *top >= end {
            return;
        }
        frame.render_widget(line, Rect::new(area.x, area.y + *top, area.width, 1));
        *top += 1;
    }
}

/// How many lines each of the three lists gets. Where there is no room for all, the changes give way first, then what waits, then
/// the objects; each keeps its title and some lines as long as there is room for that.
fn heights(room: usize, wanted: [usize; 3]) -> [usize; 3] {
    let mut heights = wanted;
    for (list, least) in [(2, 4), (1, 5), (0, 4), (2, 0), (1, 2), (0, 0)] {
        let over = heights.iter().sum::<usize>().saturating_sub(room);
        heights[list] -= over.min(heights[list].saturating_sub(least));
    }
    heights
}

/// That many lines; the last one says how many were left out.
fn cut(mut lines: Vec<Line<'static>>, most: usize) -> Vec<Line<'static>> {
    let left = lines.len().saturating_sub(most);
    if left > 0 {
        lines.truncate(most.saturating_sub(1));
        lines.push(Line::from(format!("… and {} more", left + 1)));
    }
    lines
}

fn described(item: &WaitingItem<'_>) -> String {
    let text = |row: &Row, column: &str| printable(row.text(column).unwrap_or("-"));
    let id = |row: &Row| row.number("id").unwrap_or(0);
    let record = |row: &Row| match row.number("local_id") {
        Some(local_id) => format!("{} {local_id}", text(row, "object")),
        None => text(row, "object"),
    };
    match item {
        WaitingItem::Hold(hold) => format!(
            "hold {}: {}, at most {} at once",
            id(hold),
            held_work(hold),
            hold.number("allowed")
                .map_or_else(|| "-".to_owned(), thousands),
        ),
        WaitingItem::Conflict(conflict) => format!(
            "conflict {}: {}, {}: here {}, in HubSpot {}",
            id(conflict),
            record(conflict),
            text(conflict, "property"),
            value(conflict, "local_value"),
            value(conflict, "remote_value"),
        ),
        WaitingItem::Dead(entry) => format!(
            "dead {}: {} of {}: {}",
            id(entry),
            text(entry, "operation"),
            record(entry),
            text(entry, "last_error"),
        ),
    }
}

/// `"Rome"`, or `nothing`.
fn value(row: &Row, column: &str) -> String {
    row.text(column).map_or_else(
        || "nothing".to_owned(),
        |text| format!("\"{}\"", shortened(text, VALUE)),
    )
}

fn quota(quota: &Row, now: Timestamp) -> String {
    let number = |column: &str| quota.number(column).map(thousands);
    let mut parts = Vec::new();
    match (quota.text("empty_at"), quota.get("daily_limit").is_null()) {
        (Some(empty), _) => parts.push(format!("the day is spent {}", moment(empty, now))),
        (None, false) => parts.push("lasts for the day".to_owned()),
        (None, true) => {}
    }
    if let Some(per_hour) = number("per_hour") {
        parts.push(format!("{per_hour} in the last hour"));
    }
    if let Some(others) = quota.number("used_by_others").filter(|others| *others > 0) {
        parts.push(format!("{} of other apps", thousands(others)));
    }
    if let Some(burst) = number("burst_limit") {
        parts.push(format!("{burst} in 10 s"));
    }
    parts.join(", ")
}

fn queues(rows: &WatchedRows, now: Timestamp) -> String {
    let age = |column: &str| {
        let since = rows.queues.text(column).and_then(Timestamp::parse);
        since.map_or_else(String::new, |since| {
            format!(", the oldest for {}", duration(now.since(since)))
        })
    };
    let mut text = outbox_of(&rows.status) + &age("oldest_entry");
    let events = rows.status.health.number("inbox_depth").unwrap_or(0);
    if events > 0 {
        text.push_str("; ");
        text.push_str(&counted(events, "event waits", "events wait"));
        text.push_str(&age("oldest_event"));
    }
    text
}

fn changes(rows: &WatchedRows, width: usize, now: Timestamp) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("last changes", titled())];
    lines.extend(rows.changes.iter().map(|change| {
        let text = |column: &str| change.text(column).unwrap_or("-");
        let line = format!(
            "{}  {} {}  {}: {} -> {}  ({})",
            moment(text("at"), now),
            text("object"),
            change
                .number("local_id")
                .map_or_else(|| "-".to_owned(), |id| id.to_string()),
            text("property"),
            shortened(text("old_value"), VALUE),
            shortened(text("new_value"), VALUE),
            text("origin"),
        );
        Line::from(shortened(&line, width))
    }));
    lines
}

fn help() -> Vec<Line<'static>> {
    [
        "",
        "↑ ↓    choose what waits for you",
        "r      send a dead entry again                      outbox retry",
        "d      give up a dead entry, or take a hold back    outbox discard",
        "a      let go what a hold holds                     outbox approve",
        "l      the mirror's value of a conflict             conflicts resolve",
        "h      HubSpot's value of a conflict                conflicts resolve",
        "p      pause the daemon, or let it go on            sync_commands",
        "?      this page",
        "q      leave, as Ctrl-C does",
        "",
        "Nothing is done before you answer with y.",
    ]
    .into_iter()
    .map(Line::from)
    .collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;
    use tempfile::TempDir;

    use super::*;
    use crate::store::commands::CommandDb;
    use crate::store::commands::testing::{database, execute};

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment")
    }

    /// A screen of the database that the other commands' tests look at, with a history and a quota.
    fn screen(folder: &TempDir) -> StatusScreen {
        let path = database(folder);
        execute(
            &path,
            "DROP VIEW IF EXISTS sync_quota;
             CREATE VIEW sync_quota AS SELECT 190 AS burst_limit, 5 AS search_limit, 625000 AS daily_limit,
                1200 AS daily_used, 300 AS used_by_others, 420 AS per_hour, '2026-11-24T21:40:00.000Z' AS empty_at,
                '2026-11-25T00:00:00.000Z' AS resets_at;
             INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, new_value, origin)
             SELECT strftime('%Y-%m-%dT%H:%M:%fZ', '2026-11-24 03:00:00', value || ' seconds'), 'contacts', 10 + value, 100 + value,
                'city', 'Rome', 'a city with a name that is much longer than a line ' || char(27), 'poll'
             FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 12) SELECT value FROM n)",
        );
        let mut screen = StatusScreen::new(Drawing::Plain);
        let read = CommandDb::open(&path).and_then(|mut db| db.watched());
        screen.take(Ok(read.expect("read")));
        screen
    }

    fn drawn(screen: &StatusScreen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal
            .draw(|frame| screen.draw(frame, now()))
            .expect("drawn");
        let text = terminal.backend().to_string();
        text.lines()
            .map(|line| line.trim_matches('"').trim_end())
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn press(screen: &mut StatusScreen, code: KeyCode) -> KeyAnswer {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn it_fits_a_terminal_of_80_by_24_and_uses_a_larger_one() {
        let folder = TempDir::new().expect("a folder");
        let screen = screen(&folder);
        insta::assert_snapshot!("small", drawn(&screen, 80, 24));
        insta::assert_snapshot!("large", drawn(&screen, 120, 40));
        // A terminal of any size shows what it can.
        for (width, height) in [(1, 1), (10, 3), (40, 8), (200, 100)] {
            drawn(&screen, width, height);
        }
    }

    #[test]
    fn what_can_be_done_depends_on_what_is_chosen_and_is_asked_first() {
        let folder = TempDir::new().expect("a folder");
        let mut screen = screen(&folder);
        // A hold, two conflicts, two dead entries.
        for (down, letter, expected) in [
            (0, 'a', Some(ScreenAct::Approve(2))),
            (0, 'd', Some(ScreenAct::TakeBack(2))),
            (0, 'r', None),
            (1, 'l', Some(ScreenAct::Resolve(1, "local"))),
            (2, 'h', Some(ScreenAct::Resolve(4, "remote"))),
            (2, 'd', None),
            (3, 'r', Some(ScreenAct::Retry(2))),
            (4, 'd', Some(ScreenAct::Discard(4))),
            (9, 'd', Some(ScreenAct::Discard(4))),
            (4, 'l', None),
            (0, 'p', Some(ScreenAct::Command("pause"))),
        ] {
            screen.chosen = 0;
            for _ in 0..down {
                assert_eq!(press(&mut screen, KeyCode::Down), KeyAnswer::Nothing);
            }
            assert_eq!(
                press(&mut screen, KeyCode::Char(letter)),
                KeyAnswer::Nothing
            );
            let foot = drawn(&screen, 80, 24)
                .lines()
                .last()
                .expect("a line")
                .to_owned();
            match expected {
                Some(act) => {
                    assert!(foot.ends_with("y yes, any other key no"), "{foot}");
                    assert_eq!(press(&mut screen, KeyCode::Char('n')), KeyAnswer::Nothing);
                    assert_eq!(
                        press(&mut screen, KeyCode::Char('y')),
                        KeyAnswer::Nothing,
                        "it was no"
                    );
                    press(&mut screen, KeyCode::Char(letter));
                    assert_eq!(
                        press(&mut screen, KeyCode::Char('y')),
                        KeyAnswer::Carry(act)
                    );
                }
                None => assert!(foot.contains("choose one with the arrows"), "{foot}"),
            }
        }
        assert_eq!(press(&mut screen, KeyCode::Char('q')), KeyAnswer::Leave);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.key(control_c), KeyAnswer::Leave);
    }

    #[test]
    fn what_is_chosen_is_shown_and_the_help_names_each_key() {
        let folder = TempDir::new().expect("a folder");
        let mut screen = screen(&folder);
        for _ in 0..4 {
            press(&mut screen, KeyCode::Down);
        }
        assert!(drawn(&screen, 80, 16).contains("dead 4: archive of contacts 15"));
        assert_eq!(press(&mut screen, KeyCode::Char('?')), KeyAnswer::Nothing);
        insta::assert_snapshot!("help", drawn(&screen, 80, 24));
        press(&mut screen, KeyCode::Char('a'));
        assert!(
            drawn(&screen, 80, 24).contains("waits for you"),
            "any key leaves it"
        );
    }

    #[test]
    fn an_object_that_fails_is_shown_before_those_for_which_there_is_no_room() {
        let folder = TempDir::new().expect("a folder");
        let mut screen = screen(&folder);
        let rows = screen.rows.as_mut().expect("rows");
        let failing = rows
            .status
            .objects
            .iter()
            .position(|own| own.number("failing") > Some(0));
        let failing = rows.status.objects.remove(failing.expect("one that fails"));
        let name = failing.text("object").expect("a name").to_owned();
        let sound = rows
            .status
            .objects
            .first()
            .cloned()
            .expect("one that does not");
        rows.status.objects = vec![sound; 30];
        rows.status.objects.push(failing);
        let text = drawn(&screen, 80, 24);
        let lines = text.lines().skip_while(|line| !line.starts_with("object "));
        let first = lines.clone().nth(1).expect("an object");
        assert!(first.starts_with(&name), "{text}");
        assert!(text.contains(" more\n"), "{text}");
    }

    #[test]
    fn without_a_database_it_is_stopped_and_says_why() {
        let mut screen = StatusScreen::new(Drawing::Plain);
        screen.take(Err("there is no database at `crm.db`".to_owned()));
        let text = drawn(&screen, 80, 24);
        assert!(text.starts_with("stopped\nthere is no database"), "{text}");
        assert!(text.ends_with("q quit"), "{text}");
        press(&mut screen, KeyCode::Char('p'));
        assert!(drawn(&screen, 80, 24).ends_with("there is no database yet"));
    }
}
