//! Objects of S3, from a server that has its moods.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use selvedge_workflow::objects::{ObjectError, Objects as _, S3};
use selvedge_workflow::{Calls, System};

/// Answers one request after the other as it is told, and remembers them.
fn server(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&seen);
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 16 * 1024];
            let read = stream.read(&mut buffer).unwrap();
            remembered.lock().unwrap().push(String::from_utf8_lossy(&buffer[..read]).to_ascii_lowercase());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, seen)
}

fn part(from: usize, text: &str, length: usize) -> String {
    let to = from + text.len() - 1;
    format!(
        "HTTP/1.1 206 Partial Content\r\netag: \"one\"\r\ncontent-range: bytes {from}-{to}/{length}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
}

fn refused(status: &str, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// What the object says, and what was asked for it.
fn read(answers: Vec<String>) -> (Result<String, String>, Vec<String>) {
    let (url, seen) = server(answers);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let environment =
        [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_ACCESS_KEY_ID", "K"), ("AWS_SECRET_ACCESS_KEY", "S")];
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let calls = Calls { environment, ..Calls::default() };
    let buckets = S3::new(&calls, "eu-west-1", Arc::new(System), runtime.handle().clone());
    let text = || -> Result<String, String> {
        let mut object = buckets.open("b", "k", None).map_err(|error: ObjectError| error.to_string())?;
        let mut text = String::new();
        object.read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    };
    let text = text();
    let seen = seen.lock().unwrap().clone();
    (text, seen)
}

#[test]
fn an_object_is_read_in_parts_of_one_version() {
    let (text, seen) = read(vec![part(0, "hello ", 11), part(6, "world", 11)]);
    assert_eq!(text.as_deref(), Ok("hello world"));
    assert!(seen[0].contains("range: bytes=0-8388607") && !seen[0].contains("if-match"), "{}", seen[0]);
    assert!(
        seen[1].contains("range: bytes=6-8388613") && seen[1].contains("if-match: \"one\""),
        "{}",
        seen[1]
    );
    let (text, _) =
        read(vec![part(0, "hello ", 11), refused("412 Precondition Failed", "PreconditionFailed")]);
    assert!(text.unwrap_err().contains("'k' in the bucket 'b': it was replaced while it was read"));
    // One that promises more than it has is no shorter object.
    let empty = "HTTP/1.1 206 Partial Content\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned();
    let (text, _) = read(vec![part(0, "hello ", 11), empty]);
    assert!(text.is_err(), "{text:?}");
}

#[test]
fn a_bucket_that_is_busy_is_asked_again_and_not_for_ever() {
    let busy = || refused("503 Slow Down", "SlowDown");
    let (text, seen) = read(vec![busy(), busy(), part(0, "late", 4)]);
    assert_eq!((text.as_deref(), seen.len()), (Ok("late"), 3));
    let (text, seen) = read(vec![busy(), busy(), busy(), busy()]);
    assert!(text.unwrap_err().contains("SlowDown"));
    assert_eq!(seen.len(), 4);
    let (text, seen) = read(vec![refused("403 Forbidden", "AccessDenied")]);
    assert!(text.unwrap_err().contains("AccessDenied: no (status 403)"));
    assert_eq!(seen.len(), 1, "what is refused is not asked again");
    let (text, _) = read(vec![refused("404 Not Found", "NoSuchKey")]);
    assert_eq!(text.unwrap_err(), "there is no object 'k' in the bucket 'b'");
    let (text, _) = read(vec![refused("416 Range Not Satisfiable", "InvalidRange")]);
    assert_eq!(text.as_deref(), Ok(""), "an object without a byte");
}
