//! `service`: whether a service runs, and bringing it into a state.
//!
//! Three ways to speak with it: systemd where it is the first process, a script in `/etc/init.d`,
//! or a pidfile with the command that starts it. A state that already holds is not brought about
//! again, and after a change the service is looked at, because exit codes of starts say little.

use std::time::{Duration, Instant};

use super::Cx;
use super::bounded::{Fields, Stop, bounded, error, found, refused, stopped, unknown};
use super::process::{ProcessEnd, run_process, start_daemon};
use super::service_backend::{Backend, Look, Verb};
use crate::limits::{SERVICE_POLL, SERVICE_PROOF, SERVICE_SETTLE};
use crate::outcome::{End, Outcome, Verdict};
use crate::runbook::params::{Service, ServiceState};

/// Looks at a service, or brings it into `state`.
///
/// Fields: `active`, `state` (systemd's own word such as `active`, `inactive`, `failed`,
/// `not-found`; `active` or `inactive` elsewhere), `since` (RFC 3339) and `pid` of its main process
/// where they are known; `forced` where a stop needed KILL. The rule of a look: ok if active, else
/// critical. Of a change: ok once the state is seen, else critical. A change that was under way
/// when the attempt had to end is [`End::Interrupted`]: systemd goes on with it without us.
pub async fn perform(params: &Service, cx: &Cx) -> Outcome {
    if let Err(why) = check(params) {
        return refused("E_PARAMETER", why);
    }
    let Some(backend) = Backend::of(params) else {
        let why = format!(
            "find service `{}`: systemd does not run here, `/etc/init.d` has no such script, and \
             the step names no `pidfile`",
            params.name
        );
        return unknown("E_NO_SERVICE_MANAGER", why);
    };
    let before = match backend.look(params, cx).await {
        Ok(look) => look,
        Err(outcome) => return *outcome,
    };
    match params.state {
        None => seen(params, &before),
        Some(_) if before.state == "not-found" => Outcome {
            error: Some(error("E_NO_SERVICE", format!("there is no service `{}`", params.name))),
            changed: Some(false),
            ..found(Verdict::Critical, before.fields().0)
        },
        Some(wanted) => bring(params, &backend, &before, wanted, cx).await,
    }
}

fn check(params: &Service) -> Result<(), String> {
    let name = &params.name;
    let fits = |c: char| c.is_ascii_alphanumeric() || "@._:\\-".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
        return Err(format!("`{name}` is not a service's name: letters, digits and `@._:-`"));
    }
    if name.starts_with(['-', '.']) {
        return Err(format!(
            "`{name}` is not a service's name: it begins like an option or a path"
        ));
    }
    match (params.state, &params.pidfile, params.start.is_empty()) {
        (_, None, false) => Err("`start` goes with `pidfile`".to_owned()),
        (Some(ServiceState::Started | ServiceState::Restarted), Some(_), true) => {
            Err("a service with a `pidfile` is started by `start`, which is missing".to_owned())
        }
        _ => Ok(()),
    }
}

fn seen(params: &Service, look: &Look) -> Outcome {
    let fields = look.fields().0;
    if look.active {
        return found(Verdict::Ok, fields);
    }
    let why = format!("service `{}` is {}", params.name, look.state);
    Outcome { error: Some(error("E_NOT_ACTIVE", why)), ..found(Verdict::Critical, fields) }
}

async fn bring(
    params: &Service,
    backend: &Backend,
    before: &Look,
    wanted: ServiceState,
    cx: &Cx,
) -> Outcome {
    let already = match wanted {
        ServiceState::Started => before.active,
        ServiceState::Stopped => before.is_down(),
        ServiceState::Restarted | ServiceState::Reloaded => false,
    };
    if already {
        return Outcome { changed: Some(false), ..found(Verdict::Ok, before.fields().0) };
    }
    if wanted == ServiceState::Reloaded && !before.active {
        let why = format!("service `{}` is {}, so it cannot reload", params.name, before.state);
        return Outcome {
            error: Some(error("E_NOT_ACTIVE", why)),
            changed: Some(false),
            ..found(Verdict::Critical, before.fields().0)
        };
    }
    let mut forced = false;
    for verb in Verb::of(wanted, backend, before) {
        match act(params, backend, verb, cx).await {
            Ok(by_force) => forced |= by_force,
            Err(outcome) => return *outcome,
        }
    }
    let after = match settled(params, backend, wanted, cx).await {
        Ok(after) => after,
        Err(outcome) => return *outcome,
    };
    let fields = after.fields().set_if("forced", forced.then_some(true)).0;
    let as_wanted = match wanted {
        ServiceState::Stopped => after.is_down(),
        _ => after.active,
    };
    if as_wanted {
        return Outcome { changed: Some(true), ..found(Verdict::Ok, fields) };
    }
    let why = format!("service `{}` is {} after it was {wanted:?}", params.name, after.state);
    Outcome {
        error: Some(error("E_SERVICE", why.to_lowercase())),
        changed: Some(true),
        ..found(Verdict::Critical, fields)
    }
}

/// Does one thing to the service; says whether force was needed.
async fn act(
    params: &Service,
    backend: &Backend,
    verb: Verb,
    cx: &Cx,
) -> Result<bool, Box<Outcome>> {
    let Some(argv) = backend.argv(params, verb) else {
        return super::service_backend::signal(params, verb, cx).await;
    };
    let end = match verb {
        // What a start leaves behind is the service.
        Verb::Start | Verb::Restart => start_daemon(&argv, &params.process, cx).await,
        Verb::Stop | Verb::Reload => run_process(&argv, &params.process, cx).await,
    };
    ended(&end, backend, &argv).map(|()| false)
}

fn ended(end: &ProcessEnd, backend: &Backend, argv: &[String]) -> Result<(), Box<Outcome>> {
    let command = argv.join(" ");
    if end.end != End::Completed {
        // Its client was ended; systemd itself goes on.
        let how = match (end.end, backend) {
            (End::TimedOut | End::Cancelled, Backend::Systemd) => End::Interrupted,
            (other, _) => other,
        };
        let why = end.error.clone().unwrap_or_else(|| {
            error("E_SERVICE", format!("run `{command}`: it did not come to its end"))
        });
        return Err(Box::new(Outcome {
            end: how,
            rule: Some(Verdict::Unknown),
            error: Some(why),
            left: end.left.clone(),
            ..Outcome::default()
        }));
    }
    if end.exit_code == Some(0) {
        return Ok(());
    }
    let said = super::service_backend::text_of(end.stderr.as_ref());
    let said = match said.trim() {
        "" => super::service_backend::text_of(end.stdout.as_ref()),
        _ => said,
    };
    let last = said.trim().lines().last().unwrap_or("no message").to_owned();
    let code = end.exit_code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"));
    let why = format!("run `{command}`: it ended with {code}: {last}");
    Err(Box::new(Outcome {
        error: Some(error("E_SERVICE", why)),
        changed: Some(true),
        ..found(Verdict::Critical, Fields::default().0)
    }))
}

/// Looks until the service is as wanted, or until it had its time. A service that started must
/// also live for a moment.
async fn settled(
    params: &Service,
    backend: &Backend,
    wanted: ServiceState,
    cx: &Cx,
) -> Result<Look, Box<Outcome>> {
    let give_up = Instant::now() + SERVICE_SETTLE;
    let mut proven = false;
    loop {
        let look = backend.look(params, cx).await?;
        let as_wanted = match wanted {
            ServiceState::Stopped => look.is_down(),
            _ => look.active,
        };
        if as_wanted && (proven || wanted == ServiceState::Stopped) {
            return Ok(look);
        }
        if !as_wanted && (proven || Instant::now() >= give_up || look.state == "failed") {
            return Ok(look);
        }
        proven = as_wanted;
        let pause = if proven { SERVICE_PROOF } else { SERVICE_POLL };
        rest(pause, cx).await.map_err(|stop| {
            let how = stopped(stop);
            let why = format!("service `{}` had not settled when the attempt ended", params.name);
            Box::new(Outcome {
                end: End::Interrupted,
                error: Some(error("E_INTERRUPTED", why)),
                ..how
            })
        })?;
    }
}

/// A pause that ends with the attempt.
pub(super) async fn rest(pause: Duration, cx: &Cx) -> Result<(), Stop> {
    bounded(cx, tokio::time::sleep(pause)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Service {
        serde_json::from_value(serde_json::json!({ "name": name })).unwrap()
    }

    #[test]
    fn a_name_is_never_an_option_a_path_or_a_pattern() {
        for name in ["ssh", "postgresql@15-main", "dev-disk-by\\x2did.swap", "a.timer"] {
            assert!(check(&named(name)).is_ok(), "{name}");
        }
        for name in ["", "-H", "--now", "../x", "a/b", "a b", "*", "a\n", ".", "..", "ä"] {
            assert!(check(&named(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn start_and_pidfile_belong_together() {
        let with = |tree| check(&serde_json::from_value::<Service>(tree).unwrap());
        use serde_json::json;
        assert!(with(json!({"name": "a", "start": ["a"]})).is_err());
        assert!(with(json!({"name": "a", "pidfile": "/p", "state": "started"})).is_err());
        assert!(with(json!({"name": "a", "pidfile": "/p", "state": "stopped"})).is_ok());
    }
}
