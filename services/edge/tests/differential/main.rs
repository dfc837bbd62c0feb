//! The same configurations and requests for Debian's lighttpd 1.4.69 and for the edge, and the answers compared: status,
//! headers, body. Where they differ on purpose, `differences.txt` says why.

mod besides;
mod odd;
#[path = "../server/mod.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use server::{LIGHTTPD, Lighttpd, edge, get};

/// Headers that say when, not what.
const PASSING: [&str; 2] = ["date", "expires"];

struct Case {
    name: &'static str,
    conf: &'static str,
    requests: &'static [&'static str],
}

const fn case(name: &'static str, conf: &'static str, requests: &'static [&'static str]) -> Case {
    Case { name, conf, requests }
}

/// `ROOT` is the test's folder.
const COMMON: &str = "server.document-root = \"ROOT/www\"\nmimetype.assign = ( \".html\" => \"text/html\", \".txt\" => \"text/plain\", \".css\" => \"text/css\" )\n";

const CASES: &[Case] = &[
    case(
        "static",
        "",
        &[
            "GET / HTTP/1.0\r\n\r\n",
            "GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "HEAD /a.txt HTTP/1.0\r\n\r\n",
            "GET /missing HTTP/1.0\r\n\r\n",
            "GET /noext HTTP/1.0\r\n\r\n",
            "GET /dir HTTP/1.0\r\n\r\n",
            "GET /dir?x=1 HTTP/1.0\r\n\r\n",
            "GET /a.txt/info HTTP/1.0\r\n\r\n",
            "POST /a.txt HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
            "PUT /a.txt HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
            "DELETE /a.txt HTTP/1.0\r\n\r\n",
            "OPTIONS /a.txt HTTP/1.0\r\n\r\n",
            "OPTIONS * HTTP/1.0\r\n\r\n",
            "BREW / HTTP/1.0\r\n\r\n",
        ],
    ),
    case(
        "targets",
        "",
        &[
            "GET /%61.txt HTTP/1.0\r\n\r\n",
            "GET //a.txt HTTP/1.0\r\n\r\n",
            "GET /dir/../a.txt HTTP/1.0\r\n\r\n",
            "GET /dir/%2e%2e/a.txt HTTP/1.0\r\n\r\n",
            "GET /../../../etc/passwd HTTP/1.0\r\n\r\n",
            "GET /..%2f..%2fetc%2fpasswd HTTP/1.0\r\n\r\n",
            "GET /a%00.txt HTTP/1.0\r\n\r\n",
            "GET /a.txt%0d%0aX:y HTTP/1.0\r\n\r\n",
            "GET /a.txt#frag HTTP/1.0\r\n\r\n",
            "GET http://h/a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "GET http://h/a.txt HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n",
            "GET a.txt HTTP/1.0\r\n\r\n",
        ],
    ),
    case(
        "framing",
        "",
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    ),
    case(
        "ranges",
        "",
        &[
            "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-3\r\nConnection: close\r\n\r\n",
            "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=-3\r\nConnection: close\r\n\r\n",
            "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=99-\r\nConnection: close\r\n\r\n",
            "GET /long.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1,500-501\r\nConnection: close\r\n\r\n",
            "GET /a.txt HTTP/1.0\r\nRange: bytes=0-3\r\n\r\n",
            "HEAD /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-3\r\nConnection: close\r\n\r\n",
            "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: lines=0-3\r\nConnection: close\r\n\r\n",
            "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-3\r\nIf-Range: \"no\"\r\nConnection: close\r\n\r\n",
        ],
    ),
    case(
        "ranges off",
        "server.range-requests = \"disable\"\n",
        &["GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-3\r\nConnection: close\r\n\r\n"],
    ),
    case(
        "conditions of requests",
        "",
        &[
            "GET /a.txt HTTP/1.0\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n",
            "GET /a.txt HTTP/1.0\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
            "GET /a.txt HTTP/1.0\r\nIf-None-Match: *\r\n\r\n",
            "GET /a.txt HTTP/1.0\r\nIf-None-Match: \"x\"\r\n\r\n",
            "POST /a.txt HTTP/1.0\r\nIf-None-Match: *\r\nContent-Length: 0\r\n\r\n",
        ],
    ),
    case(
        "etag parts",
        "etag.use-inode = \"disable\"\netag.use-mtime = \"disable\"\n",
        &["GET /a.txt HTTP/1.0\r\n\r\n"],
    ),
    case("no etags", "static-file.etags = \"disable\"\n", &["GET /a.txt HTTP/1.0\r\n\r\n"]),
    case(
        "index files",
        "index-file.names = ( \"none\", \"a.txt\" )\n",
        &["GET / HTTP/1.0\r\n\r\n", "GET /dir/ HTTP/1.0\r\n\r\n"],
    ),
    case(
        "access",
        "server.modules = ( \"mod_access\" )\nurl.access-deny = ( \".txt\", \"~\" )\n",
        &["GET /a.txt HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET /gone.txt HTTP/1.0\r\n\r\n"],
    ),
    case(
        "access allow",
        "server.modules = ( \"mod_access\" )\nurl.access-allow = ( \".txt\" )\n",
        &["GET /a.txt HTTP/1.0\r\n\r\n", "GET /noext HTTP/1.0\r\n\r\n"],
    ),
    case(
        "alias",
        "server.modules = ( \"mod_alias\" )\nalias.url = ( \"/other\" => \"ROOT/other\", \"/o2/\" => \"ROOT/other/\" )\n",
        &[
            "GET /other/b.txt HTTP/1.0\r\n\r\n",
            "GET /o2/b.txt HTTP/1.0\r\n\r\n",
            "GET /other HTTP/1.0\r\n\r\n",
            "GET /o2../www/a.txt HTTP/1.0\r\n\r\n",
        ],
    ),
    case(
        "redirect",
        "server.modules = ( \"mod_redirect\" )\nurl.redirect = ( \"^/old/(.*)\" => \"/new/$1\", \"^/q\" => \"http://%1/x\" )\n$HTTP[\"host\"] =~ \"^(www\\.)?(.*)$\" { url.redirect += ( \"^/h\" => \"http://%2/$0\" ) }\n",
        &[
            "GET /old/a?b=c HTTP/1.0\r\n\r\n",
            "GET /h HTTP/1.0\r\nHost: www.example.org\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
        ],
    ),
    case(
        "redirect code",
        "server.modules = ( \"mod_redirect\" )\nurl.redirect-code = 307\nurl.redirect = ( \"^/old\" => \"/new\" )\n",
        &["GET /old HTTP/1.0\r\n\r\n"],
    ),
    case(
        "rewrite",
        "server.modules = ( \"mod_rewrite\" )\nurl.rewrite-once = ( \"^/r/(.*)\" => \"/$1\" )\n",
        &[
            "GET /r/a.txt HTTP/1.0\r\n\r\n",
            "GET /r/r/a.txt HTTP/1.0\r\n\r\n",
            "GET /r/missing HTTP/1.0\r\n\r\n",
        ],
    ),
    case(
        "rewrite if not file",
        "server.modules = ( \"mod_rewrite\" )\nurl.rewrite-if-not-file = ( \"^/(.*)\" => \"/index.html?$1\" )\n",
        &["GET /a.txt HTTP/1.0\r\n\r\n", "GET /route/1 HTTP/1.0\r\n\r\n"],
    ),
    case(
        "setenv",
        "server.modules = ( \"mod_setenv\" )\nsetenv.add-response-header = ( \"X-A\" => \"1\" )\nsetenv.set-response-header = ( \"X-B\" => \"2\" )\n",
        &["GET /a.txt HTTP/1.0\r\n\r\n", "GET /missing HTTP/1.0\r\n\r\n"],
    ),
    case(
        "conditions",
        "server.modules = ( \"mod_setenv\" )\n$HTTP[\"url\"] =^ \"/dir/\" { setenv.add-response-header = ( \"X-D\" => \"1\" ) }\nelse $HTTP[\"querystring\"] == \"q=1\" { setenv.add-response-header = ( \"X-Q\" => \"1\" ) }\n$REQUEST_HEADER[\"x-c\"] == \"1\" { setenv.add-response-header = ( \"X-C\" => \"1\" ) }\n$HTTP[\"remoteip\"] == \"127.0.0.0/8\" { server.tag = \"near\" }\n",
        &[
            "GET /dir/c.txt HTTP/1.0\r\n\r\n",
            "GET /a.txt?q=1 HTTP/1.0\r\n\r\n",
            "GET /a.txt?q=1 HTTP/1.0\r\nX-C: 1\r\n\r\n",
        ],
    ),
    case(
        "expire",
        "server.modules = ( \"mod_expire\" )\nexpire.url = ( \"/dir/\" => \"access plus 2 hours\", \"/a\" => \"access 1 days\" )\n",
        &[
            "GET /dir/c.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "GET /a.txt HTTP/1.0\r\n\r\n",
            "GET /noext HTTP/1.0\r\n\r\n",
        ],
    ),
    case(
        "deflate",
        "server.modules = ( \"mod_deflate\" )\ndeflate.mimetypes = ( \"text/plain\" )\ndeflate.allowed-encodings = ( \"gzip\", \"deflate\" )\n",
        &[
            "HEAD /a.txt HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n",
            "GET /a.txt HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n",
            "GET /long.txt HTTP/1.0\r\nAccept-Encoding: br\r\n\r\n",
            "GET /long.txt HTTP/1.0\r\nAccept-Encoding: deflate\r\n\r\n",
            "GET /long.txt HTTP/1.0\r\nAccept-Encoding: gzip;q=0, deflate\r\n\r\n",
            "GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n",
        ],
    ),
    case(
        "auth",
        "server.modules = ( \"mod_auth\", \"mod_authn_file\" )\nauth.backend = \"plain\"\nauth.backend.plain.userfile = \"ROOT/users\"\nauth.backend.plain.groupfile = \"ROOT/groups\"\nauth.require = ( \"/dir/\" => ( \"method\" => \"basic\", \"realm\" => \"r\", \"require\" => \"valid-user\" ), \"/a\" => ( \"method\" => \"basic\", \"realm\" => \"r\", \"require\" => \"group=g\" ) )\n",
        &[
            "GET /dir/c.txt HTTP/1.0\r\n\r\n",
            "GET /dir/c.txt HTTP/1.0\r\nAuthorization: Basic amFuOmphbg==\r\n\r\n",
            "GET /dir/c.txt HTTP/1.0\r\nAuthorization: Basic amFuOm5v\r\n\r\n",
            "GET /a.txt HTTP/1.0\r\nAuthorization: Basic amFuOmphbg==\r\n\r\n",
            "GET /a.txt HTTP/1.0\r\nAuthorization: Basic YW5uYTphbm5h\r\n\r\n",
            "GET /dir/c.txt HTTP/1.0\r\nAuthorization: Basic ???\r\n\r\n",
        ],
    ),
    case(
        "simple vhosts",
        "server.modules = ( \"mod_simple_vhost\" )\nsimple-vhost.server-root = \"ROOT/hosts\"\nsimple-vhost.default-host = \"one\"\nsimple-vhost.document-root = \"\"\n",
        &[
            "GET /f.txt HTTP/1.0\r\nHost: one\r\n\r\n",
            "GET /f.txt HTTP/1.0\r\nHost: two:80\r\n\r\n",
            "GET /f.txt HTTP/1.0\r\nHost: other\r\n\r\n",
            "GET /f.txt HTTP/1.0\r\nHost: ..\r\n\r\n",
        ],
    ),
    case(
        "evhost",
        "server.modules = ( \"mod_evhost\" )\nevhost.path-pattern = \"ROOT/hosts/%3\"\n",
        &[
            "GET /f.txt HTTP/1.0\r\nHost: two.example.org\r\n\r\n",
            "GET /f.txt HTTP/1.0\r\nHost: x.example.org\r\n\r\n",
        ],
    ),
    case(
        "userdir",
        "server.modules = ( \"mod_userdir\" )\nuserdir.path = \"pub\"\nuserdir.basepath = \"ROOT/homes\"\n",
        &[
            "GET /~jan/h.txt HTTP/1.0\r\n\r\n",
            "GET /~jan HTTP/1.0\r\n\r\n",
            "GET /~no/h.txt HTTP/1.0\r\n\r\n",
        ],
    ),
    case("error pages", "server.errorfile-prefix = \"ROOT/errors/\"\n", &["GET /missing HTTP/1.0\r\n\r\n"]),
    case(
        "error handler 404",
        "server.error-handler-404 = \"/dir/c.txt\"\n",
        &["GET /missing HTTP/1.0\r\n\r\n", "HEAD /missing HTTP/1.0\r\n\r\n"],
    ),
    case("error handler", "server.error-handler = \"/dir/c.txt\"\n", &["GET /missing HTTP/1.0\r\n\r\n"]),
    case(
        "no symlinks",
        "server.follow-symlink = \"disable\"\n",
        &["GET /link.txt HTTP/1.0\r\n\r\n", "GET /a.txt HTTP/1.0\r\n\r\n"],
    ),
    case("symlinks", "", &["GET /link.txt HTTP/1.0\r\n\r\n", "GET /out.txt HTTP/1.0\r\n\r\n"]),
    case("lower case", "server.force-lowercase-filenames = \"enable\"\n", &["GET /A.TXT HTTP/1.0\r\n\r\n"]),
    case("excluded", "static-file.exclude-extensions = ( \".txt\" )\n", &["GET /a.txt HTTP/1.0\r\n\r\n"]),
    case("no path info", "static-file.disable-pathinfo = \"enable\"\n", &["GET /a.txt/x HTTP/1.0\r\n\r\n"]),
    case(
        "http 1.0 only",
        "server.protocol-http11 = \"disable\"\n",
        &["GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"],
    ),
    case(
        "no keep-alive",
        "server.max-keep-alive-requests = 0\n",
        &["GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n"],
    ),
    case(
        "bodies",
        "server.max-request-size = 1\n",
        &["POST /a.txt HTTP/1.0\r\nContent-Length: 5000\r\n\r\n"],
    ),
    case("heads", "server.max-request-field-size = 1024\n", &["GET / HTTP/1.0\r\nX: LONG\r\n\r\n"]),
    case(
        "cgi",
        "server.modules = ( \"mod_cgi\" )\ncgi.assign = ( \".sh\" => \"/bin/sh\" )\n",
        &[
            "GET /env.sh?a=b HTTP/1.0\r\nHost: h\r\nX-Y: z\r\nProxy: evil\r\n\r\n",
            "GET /env.sh/path/info HTTP/1.0\r\nHost: h\r\n\r\n",
            "POST /env.sh HTTP/1.0\r\nHost: h\r\nContent-Type: t\r\nContent-Length: 3\r\n\r\nabc",
            "GET /bare.sh HTTP/1.0\r\n\r\n",
            "GET /silent.sh HTTP/1.0\r\n\r\n",
            "GET /status.sh HTTP/1.0\r\n\r\n",
        ],
    ),
    case(
        "ssi",
        "server.modules = ( \"mod_ssi\", \"mod_alias\" )\nssi.extension = ( \".shtml\" )\nalias.url = ( \"/side/\" => \"ROOT/other/\" )\n",
        &[
            "GET /page.shtml?a=b&c=%3Cd%3E HTTP/1.0\r\nHost: h\r\nX-Y: <a&b>\r\n\r\n",
            "HEAD /page.shtml HTTP/1.0\r\n\r\n",
            "GET /page.shtml HTTP/1.1\r\nHost: h\r\nRange: bytes=0-4\r\nConnection: close\r\n\r\n",
            "GET /branches.shtml HTTP/1.0\r\nHost: h\r\n\r\n",
            "GET /files.shtml HTTP/1.0\r\n\r\n",
            "GET /dir/outer.shtml HTTP/1.0\r\n\r\n",
            "GET /side/aliased.shtml HTTP/1.0\r\n\r\n",
            "GET /env.shtml HTTP/1.0\r\nHost: h\r\nAuthorization: Basic eDp5\r\n\r\n",
            "GET /exec.shtml HTTP/1.0\r\n\r\n",
            "GET /quotes.shtml HTTP/1.0\r\n\r\n",
        ],
    ),
    case(
        "ssi without commands",
        "server.modules = ( \"mod_ssi\" )\nssi.extension = ( \".shtml\" )\nssi.exec = \"disable\"\nssi.content-type = \"text/x-page\"\n",
        &["GET /exec.shtml HTTP/1.0\r\n\r\n"],
    ),
    case(
        "ssi in depth",
        "server.modules = ( \"mod_ssi\" )\nssi.extension = ( \".shtml\" )\nssi.recursion-max = 2\nssi.conditional-requests = \"enable\"\n",
        &[
            "GET /dir/outer.shtml HTTP/1.0\r\n\r\n",
            "GET /deep.shtml HTTP/1.0\r\n\r\n",
            "GET /deep.shtml HTTP/1.0\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n",
        ],
    ),
    case(
        "ssi beside links",
        "server.modules = ( \"mod_ssi\" )\nssi.extension = ( \".shtml\" )\nserver.follow-symlink = \"disable\"\n",
        &["GET /files.shtml HTTP/1.0\r\n\r\n"],
    ),
];

/// Pages with server-side includes.
const PAGES: [(&str, &str); 11] = [
    (
        "www/page.shtml",
        concat!(
            "start <!-- a comment --> <!--#echo var=\"DOCUMENT_NAME\" --> <!--#echo var=\"DOCUMENT_URI\" -->\n",
            "<!--#echo var=\"NOPE\" --> <!--#echo var='QUERY_STRING' encoding=none --> <!--#echo var=HTTP_X_Y -->\n",
            "<!--#echo var=\"LAST_MODIFIED\" --> <!--#config timefmt=\"%Y-%m-%d %H:%M\" --><!--#echo var=\"LAST_MODIFIED\" -->\n",
            "<!--#set var=\"x\" value=\"one\" --><!--#echo var=\"x\" --> <!--#set var=\"y\" value=\"$x two\" --><!--#echo var=\"y\" -->\n",
            "<!--#echo var=\"USER_NAME\" --> <!--#config timefmt=\"%Y\" --><!--#echo var=\"DATE_GMT\" --> <!--#echo var=\"DATE_LOCAL\" -->\n",
            "<!--# nothing --> <!--#unknown var=\"x\" --> <!--#echo  var = \"x\" --> <!--#ECHO var=\"x\" --> <!--#comment any = thing -->\n",
            "<!--#echo --> <!--#set var=\"only\" --> <!--#set var=\"a\" value=\"v\" var=\"b\" --> <!--#echo var=\"REQUEST_METHOD\"-->\n",
            "<!--#echo var=\"x\" --\nend <!--#echo var=\"x\""
        ),
    ),
    (
        "www/branches.shtml",
        concat!(
            "<!--#set var=\"x\" value=\"one\" -->",
            "1<!--#if expr=\"$x = one\" -->T<!--#else -->F<!--#endif -->\n",
            "2<!--#if expr=\"$x = two\" -->T<!--#elif expr=\"$x = one\" -->E<!--#elif expr=\"$x\" -->EE<!--#else -->F<!--#endif -->\n",
            "3<!--#if expr=\"$nope\" -->T<!--#else -->F<!--#endif -->\n",
            "4<!--#if expr=\"!$nope && ($x = two || abc < abd)\" -->T<!--#else -->F<!--#endif -->\n",
            "5<!--#if expr=\"'a b' = a b\" -->T<!--#else -->F<!--#endif -->\n",
            "6<!--#if expr=\"10 > 9\" -->T<!--#else -->F<!--#endif -->\n",
            "7<!--#if expr=\"((\" -->T<!--#else -->F<!--#endif -->\n",
            "8<!--#if expr=\"${x} != one || $REQUEST_METHOD = GET\" -->T<!--#else -->F<!--#endif -->\n",
            "9<!--#if expr=\"$x\" --><!--#if expr=\"$nope\" -->T<!--#else -->N<!--#endif --><!--#endif -->\n",
            "10<!--#if expr=\"$nope\" --><!--#if expr=\"$x\" -->T<!--#else -->N<!--#endif --><!--#set var=\"x\" value=\"no\" --><!--#else -->F<!--#endif --><!--#echo var=\"x\" -->\n",
            "11<!--#if expr=\"a = b = c\" -->T<!--#else -->F<!--#endif -->\n",
            "12<!--#if expr=\"(a) = b\" -->T<!--#else -->F<!--#endif -->\n",
            "13<!--#if expr=\"!$x = one\" -->T<!--#else -->F<!--#endif -->\n",
            "14<!--#if expr=\"$nope || $x && $nope\" -->T<!--#else -->F<!--#endif -->\n",
            "15<!--#if expr=\"0\" -->T<!--#else -->F<!--#endif -->\n"
        ),
    ),
    (
        "www/files.shtml",
        concat!(
            "<!--#fsize file=\"a.txt\" --> <!--#fsize virtual=\"/dir/c.txt\" -->",
            "<!--#config sizefmt=\"abbrev\" --> <!--#fsize file=\"long.txt\" --> <!--#fsize file=\"a.txt\" -->",
            "<!--#config sizefmt=\"bytes\" --> <!--#fsize file=\"long.txt\" --> <!--#fsize file=\"nope\" -->",
            "<!--#flastmod file=\"a.txt\" --> <!--#flastmod virtual=\"dir/c.txt\" -->\n",
            "<!--#include file=\"a.txt\" --><!--#include file=\"dir/c.txt\" --><!--#include file=\"../a.txt\" -->",
            "<!--#include virtual=\"dir/c.txt\" --><!--#include virtual=\"/../../etc/hostname\" -->",
            "<!--#include virtual=\"/dir/%63.txt\" --><!--#include virtual=\"/a.txt?x\" --><!--#include file=\"a.txt\" virtual=\"/a.txt\" -->",
            "<!--#include --><!--#include virtual=\"/dir/outer.shtml\" --><!--#include file=\"link.txt\" --><!--#include virtual=\"/large\" -->end\n"
        ),
    ),
    (
        "www/dir/outer.shtml",
        "outer <!--#set var=\"x\" value=\"1\" --><!--#include virtual=\"inner.shtml\" --><!--#echo var=\"x\" -->",
    ),
    (
        "www/dir/inner.shtml",
        "<!--#echo var=\"DOCUMENT_URI\" --> <!--#echo var=\"x\" --><!--#set var=\"x\" value=\"2\" --> <!--#include virtual=\"c.txt\" -->",
    ),
    ("www/deep.shtml", "d<!--#include virtual=\"deep.shtml\" --><!--#include virtual=\"deep1.shtml\" -->"),
    ("www/deep1.shtml", "1<!--#include virtual=\"deep2.shtml\" -->"),
    ("www/deep2.shtml", "2<!--#include virtual=\"a.txt\" -->"),
    (
        "other/aliased.shtml",
        "<!--#include virtual=\"/side/b.txt\" --><!--#include virtual=\"b.txt\" --><!--#include virtual=\"/a.txt\" -->",
    ),
    ("www/exec.shtml", "a<!--#exec cmd=\"echo b; echo $((1 + 2)); exit 1\" --><!--#exec cgi=\"/x\" -->c"),
    ("www/quotes.shtml", "<!--#set var=\"q\" value=\"a\\\"b\" --><!--#echo var=\"q\" -->"),
];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("www/index.html", "<p>index</p>\n");
    write("www/a.txt", "12345\n");
    write("www/long.txt", &"line of text\n".repeat(100));
    write("www/noext", "nothing\n");
    write("www/dir/c.txt", "c\n");
    write("other/b.txt", "b\n");
    write("hosts/one/f.txt", "one\n");
    write("hosts/two/f.txt", "two\n");
    write("homes/jan/pub/h.txt", "home\n");
    write("errors/404.html", "<p>gone</p>\n");
    write("users", "jan:jan\nanna:anna\n");
    write("groups", "g: anna\n");
    write(
        "www/env.sh",
        "printf 'Content-Type: text/plain\\r\\n\\r\\n'; env | grep -v -e '^REMOTE_PORT=' -e '^SERVER_PORT=' -e '^PWD=' -e '^OLDPWD=' -e '^_=' | sort; cat\n",
    );
    write("www/bare.sh", "echo no head\n");
    write("www/env.shtml", "<!--#echo var=\"HTTP_AUTHORIZATION\" --> <!--#echo var=\"SERVER_NAME\" -->");
    write("www/large", &"0123456789".repeat(20_000));
    write("www/silent.sh", "exit 0\n");
    write("www/status.sh", "printf 'Status: 418 I am\\nX-A: b\\n\\nbody'\n");
    for (path, page) in PAGES {
        write(path, page);
    }
    std::os::unix::fs::symlink(root.join("www/a.txt"), root.join("www/link.txt")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", root.join("www/out.txt")).unwrap();
    folder
}

/// What is compared of an answer, by name.
fn facts(server: std::net::SocketAddr, request: &str) -> BTreeMap<String, String> {
    let answer = get(server, request);
    let port = server.port().to_string();
    let masked = |text: &str| text.replace(&port, "PORT");
    let mut facts = BTreeMap::from([("status".to_owned(), answer.code().to_string())]);
    facts.insert("version".to_owned(), answer.status.split(' ').next().unwrap_or_default().to_owned());
    for (name, value) in answer.headers.iter().filter(|(name, _)| !PASSING.contains(&name.as_str())) {
        let known = facts.entry(format!("header {name}")).or_default();
        known.push_str(&masked(value));
        known.push('\n');
    }
    // Of a directory's list what it lists: the rest is how it looks.
    let rows = answer.body.split_once("<tbody>").and_then(|(_, rest)| rest.split_once("</tbody>"));
    if rows.is_some() {
        facts.remove("header content-length");
    }
    let body = rows.map_or_else(
        || masked(&answer.body),
        |(rows, _)| {
            [("&#x26;", "&amp;"), ("&#x3C;", "&lt;"), ("&#x3E;", "&gt;")]
                .into_iter()
                .fold(rows.to_owned(), |rows, (theirs, ours)| rows.replace(theirs, ours))
        },
    );
    facts.insert("body".to_owned(), body);
    facts
}

/// `case | request line | what | why`, as they stand in `differences.txt`.
fn differences() -> Vec<(String, String, String)> {
    let text = include_str!("differences.txt");
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.filter(|row| !row.starts_with("besides | "))
        .map(|row| {
            let mut cells = row.split(" | ").map(|cell| cell.trim().to_owned());
            let mut next = || cells.next().unwrap_or_else(|| panic!("a short row: {row}"));
            let found = (next(), next(), next());
            assert!(!next().is_empty(), "no reason: {row}");
            found
        })
        .collect()
}

#[test]
fn answers_are_those_of_lighttpd() {
    if !Path::new(LIGHTTPD).is_file() {
        eprintln!("skipped: no {LIGHTTPD}; install Debian's package lighttpd");
        return;
    }
    let (folder, other) = (folder(), odd::folder());
    let known = CASES.iter().map(|case| {
        let requests = case.requests.iter().map(|request| (*request).to_owned()).collect();
        (odd::Case { name: case.name.to_owned(), conf: case.conf.to_owned(), requests }, folder.path())
    });
    let cases: Vec<_> = known.chain(odd::cases().into_iter().map(|case| (case, other.path()))).collect();
    let allowed = differences();
    let mut used = vec![false; allowed.len()];
    let mut found = Vec::new();
    let mut compared = 0;
    for (case, folder) in &cases {
        let common = if case.conf.contains("server.document-root") { "" } else { COMMON };
        let text = format!("{}{common}", case.conf).replace("ROOT", folder.to_str().unwrap());
        let theirs = Lighttpd::start(folder, &text);
        let ours = edge(&text);
        for request in &case.requests {
            let line = request.lines().next().unwrap_or_default();
            let request = request.replace("LONG", &"x".repeat(5000));
            let both = || (facts(theirs.address, &request), facts(ours, &request));
            let (mut of_theirs, mut of_ours) = both();
            // How long a file is good yet may differ by the second that has turned in between, but not each time.
            for _ in 0..4 {
                if of_theirs.get("header cache-control") == of_ours.get("header cache-control") {
                    break;
                }
                (of_theirs, of_ours) = both();
            }
            compared += 1;
            let names: std::collections::BTreeSet<&String> = of_theirs.keys().chain(of_ours.keys()).collect();
            for name in names {
                let (left, right) = (of_theirs.get(name), of_ours.get(name));
                if left == right {
                    continue;
                }
                let row = allowed.iter().position(|(of, request_line, what)| {
                    (of == "*" || *of == case.name)
                        && (request_line == "*" || request_line == line)
                        && what == name
                });
                match row {
                    Some(row) => used[row] = true,
                    None => found.push(format!(
                        "{} | {line} | {name}\n   lighttpd: {left:?}\n   edge:     {right:?}",
                        case.name
                    )),
                }
            }
        }
    }
    assert!(found.is_empty(), "{compared} compared, {} differences:\n{}", found.len(), found.join("\n"));
    for (row, used) in allowed.iter().zip(used) {
        assert!(used, "a difference that is none any more: {row:?}");
    }
    assert!(compared >= 450, "{compared}");
}
