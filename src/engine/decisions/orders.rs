//! Commands by SQL (`sync_commands`): noticed within a second, carried out by the steps that do such work anyway, told of in the same
//! row. A command that ran at a kill goes on from where it was, since all that it knows is in the database.

use crate::decide::decision::commands::{PausedSide, RefusedOrder, SqlOrder};
use crate::decide::retry::AFTER_UNREAD;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::{backfill, poll};
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::HubspotError;
use crate::model::mapping::ObjectMapping;
use crate::model::name::ObjectType;
use crate::store::cursors::Backfill;
use crate::store::history::Origin;
use crate::store::orders::{self, OpenOrder, OrderWork};
use crate::store::{Lane, cursors, reads};

/// Takes up what waits and looks how far the rest is. `More`: there is a page to read at once, or work to be rung for.
/// `is_ending`: for a run that ends, which no pause keeps from working.
pub(crate) async fn step(engine: &Engine, is_ending: bool) -> Result<Progress, StepError> {
    let mut open = engine.store.read(orders::open).await?;
    // What stops the daemon waits for nothing that HubSpot has to answer first.
    open.sort_by_key(|order| !is_of_a_pause(order));
    let again = &engine.memory.orders;
    let put_off_already = again.ids(engine.now());
    let (mut more, mut failure) = (false, None);
    for order in open {
        if !is_ending && put_off_already.contains(&order.id) {
            continue;
        }
        // One that HubSpot does not answer keeps no other from its turn.
        match carry_out(engine, &order, is_ending).await {
            Ok(is_more) => more |= is_more,
            Err(StepError::Hubspot(error)) => {
                put_off(engine, &order, &error).await?;
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match failure {
        Some(error) if is_ending => Err(error.into()),
        _ if more => Ok(Progress::More),
        _ => Ok(Progress::Idle {
            until: again.next(engine.now()),
        }),
    }
}

/// Carries out what waits of `pause` and `resume`: what was written while nobody worked holds before anybody does.
pub(crate) async fn settle_pauses(engine: &Engine) -> Result<(), StepError> {
    let open = engine.store.read(orders::open).await?;
    for order in open.iter().filter(|order| is_of_a_pause(order)) {
        carry_out(engine, order, false).await?;
    }
    Ok(())
}

fn is_of_a_pause(order: &OpenOrder) -> bool {
    matches!(order.command.as_str(), "pause" | "resume")
}

/// Tells why a command that was begun goes on later.
async fn put_off(
    engine: &Engine,
    order: &OpenOrder,
    error: &HubspotError,
) -> Result<(), StepError> {
    let again = engine.now() + AFTER_UNREAD;
    engine.memory.orders.put_off([(order.id, again)]);
    let told = format!("HubSpot is asked again later: {error}");
    let order = order.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| orders::tell(tx, &order, &told))
        .await?;
    Ok(())
}

/// Whether what a side does rests.
pub(crate) async fn is_paused(engine: &Engine, side: PausedSide) -> Result<bool, StepError> {
    Ok(engine.memory.pauses.ask(&engine.store, side).await?)
}

async fn carry_out(engine: &Engine, order: &OpenOrder, is_ending: bool) -> Result<bool, StepError> {
    let is_mapped = |name: &str| {
        let mapping = engine.mapping();
        let mut mapped = mapping.objects.iter();
        mapped.any(|object| object.object.as_str() == name)
    };
    let (of, with) = (order.object.as_deref(), order.argument.as_deref());
    let asked = match SqlOrder::read(&order.command, of, with, is_mapped) {
        Ok(asked) => asked,
        Err(refused) => {
            // What ran already is carried out in part: its object was taken out of the file since.
            let state = if order.is_running {
                "failed"
            } else {
                "refused"
            };
            end(engine, order, Err((state, refused))).await?;
            return Ok(false);
        }
    };
    match &asked {
        SqlOrder::Pause(sides) => return pause(engine, order, sides, true).await,
        SqlOrder::Resume(sides) => return pause(engine, order, sides, false).await,
        SqlOrder::RefetchIds(..)
        | SqlOrder::RefetchSince(..)
        | SqlOrder::Poll(_)
        | SqlOrder::Reconcile(_)
        | SqlOrder::Backfill(_) => {}
    }
    // Before the first read of the schema no object is in force that could be asked for.
    let is_too_early = engine.resolved_mapping().is_none();
    if is_too_early || (!is_ending && is_paused(engine, PausedSide::Pull).await?) {
        return Ok(false);
    }
    if !order.is_running {
        return begin(engine, order, asked).await;
    }
    go_on(engine, order, &asked).await
}

async fn end(
    engine: &Engine,
    order: &OpenOrder,
    ended: Result<String, (&'static str, RefusedOrder)>,
) -> Result<(), StepError> {
    let order = order.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            orders::finish(tx, &order, ended, tx.now())
        })
        .await?;
    Ok(())
}

async fn fail(engine: &Engine, order: &OpenOrder, explanation: String) -> Result<(), StepError> {
    let code = "command-failed";
    end(
        engine,
        order,
        Err(("failed", RefusedOrder { explanation, code })),
    )
    .await
}

async fn pause(
    engine: &Engine,
    order: &OpenOrder,
    sides: &[PausedSide],
    is_paused: bool,
) -> Result<bool, StepError> {
    let (order, sides) = (order.clone(), sides.to_vec());
    let names: Vec<&str> = sides.iter().map(|side| side.as_str()).collect();
    let word = if is_paused { "paused" } else { "resumed" };
    let told = format!("{} {word}", names.join(" and "));
    let answer = told.clone();
    let changing = engine.memory.pauses.changing();
    let (is_done, _changed) = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let Some(order) = orders::still_waiting(tx, &order)? else {
                return Ok((false, changing));
            };
            for side in sides {
                orders::pause(tx, side, is_paused, tx.now())?;
            }
            orders::finish(tx, &order, Ok(answer), tx.now())?;
            Ok((true, changing))
        })
        .await?;
    if is_done {
        tracing::info!("a command: {told}");
    }
    Ok(is_done)
}

/// The objects that a command is about, which must be in force.
fn objects_of(
    engine: &Engine,
    wish: &SqlOrder,
) -> Result<Vec<ObjectType>, (&'static str, RefusedOrder)> {
    let named = match wish {
        SqlOrder::RefetchIds(object, _)
        | SqlOrder::RefetchSince(object, _)
        | SqlOrder::Backfill(object) => Some(object),
        SqlOrder::Poll(object) | SqlOrder::Reconcile(object) => object.as_ref(),
        SqlOrder::Pause(_) | SqlOrder::Resume(_) => None,
    };
    let in_force = engine.objects();
    let own = in_force.iter().filter(|object| {
        named.is_none_or(|name| object.object().as_str() == name) && reads(wish, object.mapping())
    });
    let own: Vec<ObjectType> = own.map(|object| object.object().clone()).collect();
    let Some(name) = named.filter(|_| own.is_empty()) else {
        return Ok(own);
    };
    let mapping = engine.mapping();
    let mapped = mapping.object(name.as_str());
    Err(match mapped.filter(|object| !reads(wish, object)) {
        Some(object) => ("refused", only_pushed(&object.object)),
        None => {
            let explanation =
                format!("{name} can't be read now: `hubsyncd status` says why [command-failed]");
            let code = "command-failed";
            ("failed", RefusedOrder { explanation, code })
        }
    })
}

/// Whether a command reads records of an object: the rows of one that is only pushed are compared as well.
fn reads(wish: &SqlOrder, object: &ObjectMapping) -> bool {
    object.direction.pulls() || matches!(wish, SqlOrder::Reconcile(_))
}

fn only_pushed(object: &ObjectType) -> RefusedOrder {
    RefusedOrder {
        explanation: format!(
            "{object} is only pushed (`direction = \"push\"`), so that nothing of it is read: `reconcile` compares it [command-object]"
        ),
        code: "command-object",
    }
}

async fn begin(engine: &Engine, order: &OpenOrder, wish: SqlOrder) -> Result<bool, StepError> {
    let objects = match objects_of(engine, &wish) {
        Ok(objects) => objects,
        Err(unmet) => {
            end(engine, order, Err(unmet)).await?;
            return Ok(false);
        }
    };
    let noticed_at = engine.client.hubspot_now();
    for object in &objects {
        if matches!(wish, SqlOrder::Poll(_)) {
            engine.memory.polls.ask(object);
        }
    }
    let order = order.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            let Some(order) = orders::still_waiting(tx, &order)? else {
                return Ok(());
            };
            orders::begin(tx, &order, &objects, (noticed_at, now))?;
            for object in &objects {
                match &wish {
                    SqlOrder::RefetchIds(_, ids) => {
                        for id in ids {
                            reads::ask(tx, object, *id, Origin::Poll, now)?;
                        }
                    }
                    SqlOrder::Reconcile(_) => orders::compare(tx, object, now)?,
                    SqlOrder::RefetchSince(..)
                    | SqlOrder::Poll(_)
                    | SqlOrder::Backfill(_)
                    | SqlOrder::Pause(_)
                    | SqlOrder::Resume(_) => {}
                }
            }
            Ok(())
        })
        .await?;
    Ok(true)
}

/// Looks how far a command is, and does a page where its walk is its own.
async fn go_on(engine: &Engine, order: &OpenOrder, wish: &SqlOrder) -> Result<bool, StepError> {
    let id = order.id;
    let work = engine
        .store
        .read(move |connection| orders::work(connection, id))
        .await?;
    let mut more = false;
    // Beside the first full read its own is not all that is asked for.
    let mut is_left = matches!(wish, SqlOrder::Backfill(_)) && is_loading(engine, &work).await?;
    let mut kept_back = Vec::new();
    for part in work.into_iter().filter(|part| !part.is_done) {
        let Some(object) = ObjectType::parse(&part.object)
            .ok()
            .and_then(|name| engine.object(&name))
        else {
            let why = format!("{} can't be read any more [command-failed]", part.object);
            fail(engine, order, why).await?;
            return Ok(false);
        };
        // The file made it so while the command ran: what it waits for would never come.
        if !reads(wish, object.mapping()) {
            let refused = only_pushed(object.object());
            end(engine, order, Err(("failed", refused))).await?;
            return Ok(false);
        }
        if !part.is_readable {
            kept_back.push(part.object);
            continue;
        }
        let is_last = match wish {
            SqlOrder::Backfill(_) => {
                Some(backfill::read_again(engine, &object, id, part.after.clone()).await?)
            }
            SqlOrder::RefetchSince(_, since) => {
                let since = since.noticed_at(part.noticed_at);
                match poll::read_since(engine, &object, (id, &part), since).await {
                    Err(error) if poll::is_senseless(&error) => {
                        tracing::warn!(object = %object.object(), error = %error, code = error.code(), "the search makes no sense");
                        let why = format!(
                            "HubSpot's search of {} makes no sense: the full comparison that is begun finds what it hides [command-failed]",
                            part.object
                        );
                        fail(engine, order, why).await?;
                        return Ok(false);
                    }
                    read => Some(read?),
                }
            }
            SqlOrder::RefetchIds(..)
            | SqlOrder::Poll(_)
            | SqlOrder::Reconcile(_)
            | SqlOrder::Pause(_)
            | SqlOrder::Resume(_) => None,
        };
        if let Some(is_last) = is_last {
            more |= !is_last;
            is_left |= !is_last;
        } else if is_done(engine, &object, &part, wish).await? {
            engine
                .store
                .write(Lane::Interactive, move |tx| {
                    orders::object_is_done(tx, id, &part.object)
                })
                .await?;
        } else {
            is_left = true;
        }
    }
    if !is_left && !kept_back.is_empty() {
        let why = format!(
            "{} can't be read now: `hubsyncd status` says why; what else was asked for is done [command-failed]",
            kept_back.join(" and ")
        );
        fail(engine, order, why).await?;
        return Ok(false);
    }
    let wish = wish.clone();
    let own = order.clone();
    // What was sent for it counts, also where no transaction has taken it along.
    engine.store.write_calls().await?;
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let progress = orders::progress(tx, &own, &wish)?;
            match is_left {
                true => orders::tell(tx, &own, &progress.running()),
                false => orders::finish(tx, &own, Ok(progress.done()), tx.now()),
            }
        })
        .await?;
    Ok(more)
}

/// Whether the first full read of one of these objects is under way.
async fn is_loading(engine: &Engine, work: &[OrderWork]) -> Result<bool, StepError> {
    let readable = work.iter().filter(|part| part.is_readable);
    let names: Vec<ObjectType> = readable
        .filter_map(|part| ObjectType::parse(&part.object).ok())
        .collect();
    let read = engine.store.read(move |connection| {
        for name in &names {
            if cursors::get(connection, name)?.backfill != Backfill::Done {
                return Ok(true);
            }
        }
        Ok(false)
    });
    Ok(read.await?)
}

async fn is_done(
    engine: &Engine,
    object: &ObjectSync,
    part: &OrderWork,
    wish: &SqlOrder,
) -> Result<bool, StepError> {
    let (name, now) = (object.object().clone(), engine.now());
    let ids = wish.ids().to_vec();
    let (cursor, is_settling, unread) = engine
        .store
        .read(move |connection| {
            Ok((
                cursors::get(connection, &name)?,
                orders::is_settling(connection, &name, now)?,
                orders::unread(connection, name.as_str(), &ids)?,
            ))
        })
        .await?;
    Ok(match wish {
        SqlOrder::RefetchIds(..) => unread == 0,
        SqlOrder::Reconcile(_) => {
            let ended = cursor
                .last_reconcile_at
                .is_some_and(|at| at >= part.began_at);
            ended && cursor.reconcile_started_at.is_none() && !is_settling
        }
        SqlOrder::Poll(_) => {
            let is_polled =
                cursor.window.is_none() && cursor.polled_to.is_some_and(|to| to >= part.noticed_at);
            if !is_polled {
                engine.memory.polls.ask(object.object());
            }
            is_polled && !is_settling
        }
        SqlOrder::RefetchSince(..)
        | SqlOrder::Backfill(_)
        | SqlOrder::Pause(_)
        | SqlOrder::Resume(_) => true,
    })
}
