//! The document root of a host: homes of users, one folder a host, patterns.

use std::ops::ControlFlow;

use selvedge_http::authority;
use selvedge_site::directive::server::{HostPattern, HostPiece};

use crate::request::{Exchange, Response};

/// Where a request's files are.
pub(crate) struct HostRoot {
    pub(crate) root: String,
    /// The path beneath it, where that is another than the one that was asked for.
    pub(crate) relative: Option<String>,
}

/// Finds the root for a path: homes first, then hosts, then what is configured.
pub(crate) fn find(x: &mut Exchange<'_>, relative: &str) -> ControlFlow<Response, HostRoot> {
    if let Some(home) = home(x, relative)? {
        return ControlFlow::Continue(home);
    }
    let host = x.host();
    let host = authority::without_port(&host).trim_end_matches('.').to_owned();
    let root = simple(x, &host).or_else(|| {
        let pattern = x.conf.evhost.path_pattern.as_ref()?;
        let root = by_pattern(pattern, &host);
        is_folder(&root).then_some(root)
    });
    let configured = || x.conf.server.document_root.as_deref().unwrap_or("/nonexistent").to_owned();
    ControlFlow::Continue(HostRoot { root: root.unwrap_or_else(configured), relative: None })
}

/// A name that cannot lead anywhere but into a folder of its own.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/') && !name.contains('\0')
}

fn is_folder(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|facts| facts.is_dir())
}

fn simple(x: &mut Exchange<'_>, host: &str) -> Option<String> {
    let conf = x.conf.clone();
    let vhost = &conf.simple_vhost;
    let server_root = vhost.server_root.as_deref().filter(|root| !root.is_empty())?;
    let of = |host: &str| {
        let root = crate::request::join(server_root, host);
        crate::request::join(&root, vhost.document_root.as_deref().unwrap_or_default())
    };
    if is_plain(host) {
        let root = of(host);
        if is_folder(&root) {
            x.server_name = Some(host.to_owned());
            return Some(root);
        }
    }
    let default = vhost.default_host.as_deref().filter(|host| !host.is_empty())?;
    let root = of(default);
    is_folder(&root).then(|| {
        x.server_name = Some(default.to_owned());
        root
    })
}

/// The folder of a host. Parts count from the right: 0 is domain and top level, 1 the top level, 2 the domain, and so on.
fn by_pattern(pattern: &HostPattern, host: &str) -> String {
    let parts: Vec<&str> = if host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
        vec![]
    } else {
        host.rsplit('.').collect()
    };
    let part = |number: u8| -> String {
        match number {
            0 => {
                let mut both: Vec<&str> = parts.iter().take(2).copied().collect();
                both.reverse();
                if parts.is_empty() { host.to_owned() } else { both.join(".") }
            }
            number => parts.get(usize::from(number) - 1).map_or(String::new(), |part| (*part).to_owned()),
        }
    };
    let mut root = String::new();
    for piece in pattern.pieces.iter() {
        match piece {
            HostPiece::Literal(text) => root.push_str(text),
            HostPiece::Host => root.push_str(host),
            HostPiece::Part(number) => root.push_str(&part(*number)),
            HostPiece::Character(number, 0) => root.push_str(&part(*number)),
            HostPiece::Character(number, at) => {
                root.push(part(*number).chars().nth(usize::from(*at) - 1).unwrap_or('_'));
            }
        }
    }
    root
}

/// `/~user/…` in the user's own folder.
fn home(x: &Exchange<'_>, relative: &str) -> ControlFlow<Response, Option<HostRoot>> {
    let userdir = &x.conf.userdir;
    let (true, Some(folder)) = (userdir.active, &userdir.path) else { return ControlFlow::Continue(None) };
    let Some(rest) = relative.strip_prefix("/~") else { return ControlFlow::Continue(None) };
    let Some((user, path)) = rest.split_once('/') else {
        if rest.is_empty() {
            return ControlFlow::Continue(None);
        }
        return ControlFlow::Break(crate::request::to_folder(x));
    };
    let case = x.case();
    let named = |list: &[selvedge_site::directive::Text]| list.iter().any(|name| case.same(name, user));
    if !is_plain(user)
        || named(&userdir.exclude_user)
        || !userdir.include_user.is_empty() && !named(&userdir.include_user)
    {
        return ControlFlow::Continue(None);
    }
    let root = match &userdir.basepath {
        Some(base) => {
            let letter = user.chars().next().filter(|_| userdir.letterhomes);
            let base = base.trim_end_matches('/');
            let home =
                letter.map_or_else(|| format!("{base}/{user}"), |letter| format!("{base}/{letter}/{user}"));
            crate::request::join(&home, folder)
        }
        None => match nix::unistd::User::from_name(user) {
            Ok(Some(account)) => crate::request::join(&account.dir.to_string_lossy(), folder),
            _ => return ControlFlow::Continue(None),
        },
    };
    if !is_folder(&root) {
        return ControlFlow::Continue(None);
    }
    ControlFlow::Continue(Some(HostRoot { root, relative: Some(format!("/{path}")) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_by_pattern() {
        let pattern = HostPattern {
            pieces: [
                HostPiece::Literal("/srv/".into()),
                HostPiece::Part(0),
                HostPiece::Literal("/".into()),
                HostPiece::Part(3),
                HostPiece::Literal("/".into()),
                HostPiece::Character(2, 1),
            ]
            .into(),
        };
        assert_eq!(by_pattern(&pattern, "www.example.org"), "/srv/example.org/www/e");
        assert_eq!(by_pattern(&pattern, "example.org"), "/srv/example.org//e");
        assert!(!is_plain("..") && !is_plain("") && !is_plain("a/b") && is_plain("a.b"));
    }
}
