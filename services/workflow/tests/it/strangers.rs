//! What a stranger hands in: definitions, inputs, expressions, tokens. Each is refused or ends its own execution, with a
//! word that says where, in bounded time; nothing is stored of what was refused, and others go on.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use selvedge_store::Store as _;
use selvedge_store::memory::Memory;
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, Server, history};

/// A debug build on a busy machine: what is unbounded takes hours or all memory, and not a minute.
const BOUNDED: Duration = Duration::from_secs(60);

fn server() -> (Arc<Memory>, Arc<Around>, Server) {
    let (store, around) = (Arc::new(Memory::new()), Around::new(5));
    let server = Server::start(&store, &around).unwrap();
    (store, around, server)
}

fn create(server: &Server, name: &str, definition: &str) -> Result<Value, (String, String)> {
    let role = "arn:aws:iam::123456789012:role/r";
    server.told("CreateStateMachine", json!({ "name": name, "roleArn": role, "definition": definition }))
}

/// Runs an execution of a machine that ends by itself, and describes it.
fn run(server: &Server, name: &str, input: &str) -> Value {
    let machine = format!("{PREFIX}:stateMachine:{name}");
    let started =
        server.call("StartExecution", json!({ "stateMachineArn": machine, "input": input })).unwrap();
    let deadline = Instant::now() + BOUNDED;
    loop {
        let found =
            server.call("DescribeExecution", json!({ "executionArn": started["executionArn"] })).unwrap();
        if found["status"] != "RUNNING" {
            return found;
        }
        // A long one makes room for others between its steps.
        assert!(Instant::now() < deadline, "it never ends: {name}");
        std::thread::yield_now();
    }
}

/// An execution that waits goes on beside whatever happens.
fn bystander(server: &Server) -> Value {
    let waits = json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 60, "End": true } } });
    create(server, "bystander", &waits.to_string()).unwrap();
    let machine = format!("{PREFIX}:stateMachine:bystander");
    let started = server.call("StartExecution", json!({ "stateMachineArn": machine })).unwrap();
    json!({ "executionArn": started["executionArn"] })
}

fn goes_on(server: &Server, around: &Around, bystander: &Value) {
    assert_eq!(server.call("DescribeExecution", bystander.clone()).unwrap()["status"], "RUNNING");
    around.now_ms.fetch_add(61_000, Ordering::SeqCst);
    server.engine.clock_was_set();
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.call("DescribeExecution", bystander.clone()).unwrap()["status"] != "SUCCEEDED" {
        assert!(Instant::now() < deadline, "the bystander does not go on");
        std::thread::yield_now();
    }
}

/// Parallel in Parallel, so deep.
fn nested(depth: usize) -> String {
    let mut definition = String::new();
    for level in 0..depth {
        write!(
            definition,
            r#"{{"StartAt":"P{level}","States":{{"P{level}":{{"Type":"Parallel","End":true,"Branches":["#
        )
        .unwrap();
    }
    definition.push_str(r#"{"StartAt":"I","States":{"I":{"Type":"Pass","End":true}}}"#);
    definition.push_str(&"]}}}".repeat(depth));
    definition
}

#[test]
fn a_definition_that_is_none_says_where_and_leaves_nothing() {
    let (store, _, server) = server();
    let before = store.snapshot().unwrap().scan_all("").unwrap().len();
    let pass = r#"{"Type":"Pass","End":true}"#;
    let deep_value = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    let deep_choice =
        format!("{}{{\"Variable\":\"$.a\",\"IsNull\":true}}{}", "{\"Not\":".repeat(1000), "}".repeat(1000));
    for (what, definition, said) in [
        ("no JSON", "{\"StartAt\": ".to_owned(), "Line: 1, Column: 13"),
        ("a key twice", format!(r#"{{"StartAt":"A","States":{{"A":{pass},"A":{pass}}}}}"#), "'A'"),
        ("nobody reaches it", format!(r#"{{"StartAt":"A","States":{{"A":{pass},"Lonely":{pass}}}}}"#), "/States/Lonely"),
        ("no such state", r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"Nowhere"}}}"#.to_owned(), "/States/A/Next"),
        (
            "a path that does not parse",
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","InputPath":"$.a[","End":true}}}"#.to_owned(),
            "/States/A/InputPath",
        ),
        (
            "an expression that does not parse",
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","QueryLanguage":"JSONata","Output":"{% 1 + %}","End":true}}}"#.to_owned(),
            "/States/A/Output",
        ),
        ("a thousand states deep", nested(1000), "deep"),
        (
            "a thousand arrays deep",
            format!(r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass","Result":{deep_value},"End":true}}}}}}"#),
            "deep",
        ),
        (
            "a thousand conditions deep",
            format!(r#"{{"StartAt":"A","States":{{"A":{{"Type":"Choice","Choices":[{deep_choice}],"Default":"B"}},"B":{pass}}}}}"#),
            "deep",
        ),
        (
            "a thousand brackets in an expression",
            format!(
                r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass","QueryLanguage":"JSONata","Output":"{{% {}1{} %}}","End":true}}}}}}"#,
                "(".repeat(5000),
                ")".repeat(5000)
            ),
            "/States/A/Output",
        ),
    ] {
        let begun = Instant::now();
        let (code, message) = create(&server, "none", &definition).expect_err(what);
        assert_eq!(code, "InvalidDefinition", "{what}: {message}");
        assert!(message.contains(said), "{what}: {message}");
        assert!(message.len() < 4096, "{what}: {} bytes are said", message.len());
        assert!(begun.elapsed() < BOUNDED, "{what}");
    }
    assert_eq!(store.snapshot().unwrap().scan_all("").unwrap().len(), before, "nothing is stored");
}

#[test]
fn a_megabyte_of_definition_is_read_in_its_time() {
    let (_, _, server) = server();
    let mut states = String::new();
    let mut count = 0;
    while states.len() < (1 << 20) - 400 {
        write!(states, r#""S{count}":{{"Type":"Pass","Next":"S{}"}},"#, count + 1).unwrap();
        count += 1;
    }
    let definition =
        format!(r#"{{"StartAt":"S0","States":{{{states}"S{count}":{{"Type":"Pass","End":true}}}}}}"#);
    assert!(definition.len() <= 1 << 20, "{}", definition.len());
    let begun = Instant::now();
    create(&server, "long", &definition).unwrap();
    // Twenty thousand states make more events than a history has.
    let ended = run(&server, "long", "{}");
    assert_eq!(ended["status"], "FAILED", "{ended}");
    assert!(ended["cause"].as_str().unwrap().contains("25000"), "{ended}");
    assert!(begun.elapsed() < BOUNDED, "{:?}", begun.elapsed());
    // Some forty levels are no thousand.
    create(&server, "forty", &nested(39)).unwrap();
    assert_eq!(run(&server, "forty", "{}")["status"], "SUCCEEDED");
}

#[test]
fn loops_and_a_million_items_end_at_the_bound_of_a_history_and_others_go_on() {
    let (_, around, server) = server();
    let bystander = bystander(&server);
    let again = json!({ "StartAt": "A", "States": { "A": { "Type": "Choice", "Default": "A",
        "Choices": [{ "Variable": "$.never", "IsPresent": true, "Next": "B" }] }, "B": { "Type": "Succeed" } } });
    let each = json!({ "StartAt": "M", "States": { "M": { "Type": "Map", "End": true,
        "ItemProcessor": { "StartAt": "I", "States": { "I": { "Type": "Pass", "End": true } } } } } });
    let made = json!({ "QueryLanguage": "JSONata", "StartAt": "M", "States": { "M": { "Type": "Map", "End": true, "Items": "{% [1..1000000] %}",
        "ItemProcessor": { "StartAt": "I", "States": { "I": { "Type": "Pass", "End": true } } } } } });
    for (name, definition) in [("loop", again), ("each", each), ("made", made)] {
        create(&server, name, &definition.to_string()).unwrap();
    }
    let begun = Instant::now();
    let ended = run(&server, "loop", "{}");
    assert_eq!((&ended["status"], &ended["error"]), (&json!("FAILED"), &json!("States.Runtime")), "{ended}");
    // As many items as an input holds.
    let ended = run(&server, "each", &format!("[{}1]", "1,".repeat(131_000)));
    assert_eq!((&ended["status"], &ended["error"]), (&json!("FAILED"), &json!("States.Runtime")), "{ended}");
    let ended = run(&server, "made", "{}");
    assert_eq!(ended["error"], "States.QueryEvaluationError", "{ended}");
    assert!(begun.elapsed() < BOUNDED, "{:?}", begun.elapsed());
    goes_on(&server, &around, &bystander);
}

#[test]
fn a_loop_that_never_rests_leaves_others_their_turn() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(5));
    let execution = selvedge_asl::Options { history_events: 100_000_000, ..selvedge_asl::Options::default() };
    let settings = selvedge_workflow::Settings { execution, ..selvedge_workflow::Settings::default() };
    let server = Server::start_with(&store, &around, settings).unwrap();
    let bystander = bystander(&server);
    // It comes to the timer's hands with its wait, and is due at once ever after.
    let again = json!({ "StartAt": "W", "States": {
        "W": { "Type": "Wait", "Seconds": 30, "Next": "A" },
        "A": { "Type": "Choice", "Default": "A", "Choices": [{ "Variable": "$.never", "IsPresent": true, "Next": "B" }] },
        "B": { "Type": "Succeed" } } });
    create(&server, "again", &again.to_string()).unwrap();
    let machine = format!("{PREFIX}:stateMachine:again");
    let started = server.call("StartExecution", json!({ "stateMachineArn": machine })).unwrap();
    goes_on(&server, &around, &bystander);
    let found = server.call("DescribeExecution", json!({ "executionArn": started["executionArn"] })).unwrap();
    assert_eq!(found["status"], "RUNNING", "{found}");
    server.call("StopExecution", json!({ "executionArn": started["executionArn"] })).unwrap();
}

/// The most memory that this process has had so far, in megabytes; tests run in processes of their own.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[test]
fn an_expression_that_explodes_fails_its_execution_alone() {
    let (_, around, server) = server();
    let bystander = bystander(&server);
    let jsonata = |expression: &str| json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Output": format!("{{% {expression} %}}"), "End": true });
    let template = |call: &str| json!({ "Type": "Pass", "Parameters": { "x.$": call }, "End": true });
    let copies = |path: &str, count: usize| {
        let fields: serde_json::Map<String, Value> =
            (0..count).map(|index| (format!("f{index}.$"), path.into())).collect();
        json!({ "Type": "Pass", "Parameters": fields, "End": true })
    };
    let before_mb = peak_mb();
    let begun = Instant::now();
    for (number, (state, error)) in [
        (jsonata("$pad('x', 2000000000)"), "States.QueryEvaluationError"),
        (jsonata("[1..1000000000]"), "States.QueryEvaluationError"),
        // What the library would write letter by letter, and count beyond what it counts with.
        (jsonata("$formatInteger(9e15, 'I')"), "States.QueryEvaluationError"),
        (jsonata("[-9223372036854775808..9223372036854775807]"), "States.QueryEvaluationError"),
        // A field many times over.
        (copies("$.wide", 20_000), "States.DataLimitExceeded"),
        (template(&format!("States.Array({}$.wide)", "$.wide,".repeat(20_000))), "States.DataLimitExceeded"),
        (template("$.wide[?($..*..*..*..*..* size 3)]"), "States.Runtime"),
        (
            jsonata("( $f := function($s, $n) { $n = 0 ? $s : $f($s & $s, $n - 1) }; $f('xxxxxxxx', 40) )"),
            "States.QueryEvaluationError",
        ),
        (jsonata("( $f := function() { $f() }; $f() )"), "States.QueryEvaluationError"),
        (jsonata("$match($states.input.as, /(a+)+$/)"), ""),
        (template("$..*..*..*..*..*"), "States.Runtime"),
        (template("States.ArrayRange(1, 1000000000, 1)"), "States.Runtime"),
        (template("States.ArrayRange(1, 100, 0)"), "States.Runtime"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("bomb{number}");
        create(&server, &name, &json!({ "StartAt": "X", "States": { "X": state } }).to_string()).unwrap();
        let mut wide = json!(1);
        for _ in 0..8 {
            wide = json!({ "a": wide, "b": wide, "c": wide });
        }
        let ended =
            run(&server, &name, &json!({ "as": format!("{}!", "a".repeat(5000)), "wide": wide }).to_string());
        if error.is_empty() {
            // Linear in its text, so it is no bomb at all.
            continue;
        }
        assert_eq!((&ended["status"], &ended["error"]), (&json!("FAILED"), &json!(error)), "{name}: {ended}");
        assert!(!ended["cause"].as_str().unwrap_or_default().is_empty(), "{name} says nothing");
    }
    assert!(begun.elapsed() < BOUNDED, "{:?}", begun.elapsed());
    // Measured in a debug build: 21 MB before, 73 MB at the most.
    assert!(peak_mb() - before_mb < 256, "{before_mb} MB have become {} MB", peak_mb());
    goes_on(&server, &around, &bystander);
}

#[test]
fn a_payload_that_is_too_long_or_too_deep_is_an_error_that_can_be_caught() {
    let (_, _, server) = server();
    let double =
        json!({ "Type": "Pass", "Parameters": { "x.$": "States.Format('{}{}', $.x, $.x)" }, "End": true });
    create(&server, "double", &json!({ "StartAt": "X", "States": { "X": double } }).to_string()).unwrap();
    // One byte less than half of it, then one more.
    let of = |length: usize| json!({ "x": "a".repeat(length) }).to_string();
    let most = (262_144 - r#"{"x":""}"#.len()) / 2;
    assert_eq!(run(&server, "double", &of(most))["status"], "SUCCEEDED");
    let ended = run(&server, "double", &of(most + 1));
    assert_eq!(
        (&ended["status"], &ended["error"]),
        (&json!("FAILED"), &json!("States.DataLimitExceeded")),
        "{ended}"
    );
    assert!(ended["cause"].as_str().unwrap().contains("'X'"), "{ended}");
    let machine = format!("{PREFIX}:stateMachine:double");
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let (deep, too_deep) = (deep(10_000), deep(selvedge_asl::PAYLOAD_DEPTH_MAX + 1));
    for input in [deep.as_str(), &too_deep, "{\"a\": 1", "nul", "\"\\ud800\"", "{\"a\":1,}"] {
        let refused = server.told("StartExecution", json!({ "stateMachineArn": machine, "input": input }));
        let (code, message) = refused.expect_err(&input[..input.len().min(20)]);
        assert_eq!(code, "InvalidExecutionInput", "{message}");
    }
}

#[test]
fn a_token_that_is_made_up_replayed_of_another_machine_or_late_ends_nothing() {
    let (_, around, server) = server();
    server.call("CreateActivity", json!({ "name": "work" })).unwrap();
    let activity = format!("{PREFIX}:activity:work");
    let works = json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "Resource": activity, "TimeoutSeconds": 60, "End": true } } });
    create(&server, "works", &works.to_string()).unwrap();
    let machine = format!("{PREFIX}:stateMachine:works");
    let start = || {
        server.call("StartExecution", json!({ "stateMachineArn": machine })).unwrap()["executionArn"].clone()
    };
    let take = || server.take(&activity)["taskToken"].as_str().unwrap().to_owned();
    let send = |token: &str| server.call("SendTaskSuccess", json!({ "taskToken": token, "output": "1" }));
    let (first, late) = (start(), start());
    let (token, other) = (take(), take());
    assert!(token.len() >= 32 && token != other, "nobody guesses it: {token}");
    // Made up, cut, longer, with one character that is another: wherever it is.
    let mut forged = vec![String::from("x"), "A".repeat(1024), token[1..].to_owned(), format!("{token}A")];
    for at in [0, token.len() / 2, token.len() - 1] {
        let mut characters: Vec<char> = token.chars().collect();
        characters[at] = if characters[at] == 'A' { 'B' } else { 'A' };
        forged.push(characters.into_iter().collect());
    }
    for forged in &forged {
        let refused = send(forged).expect_err(forged);
        assert!(
            matches!(refused.as_str(), "InvalidToken" | "TaskDoesNotExist" | "TaskTimedOut"),
            "{forged}: {refused}"
        );
        let refused = server.call("SendTaskHeartbeat", json!({ "taskToken": forged })).expect_err(forged);
        assert!(
            matches!(refused.as_str(), "InvalidToken" | "TaskDoesNotExist" | "TaskTimedOut"),
            "{forged}: {refused}"
        );
    }
    let status = |arn: &Value| {
        server.call("DescribeExecution", json!({ "executionArn": arn })).unwrap()["status"].clone()
    };
    assert_eq!((status(&first), status(&late)), (json!("RUNNING"), json!("RUNNING")), "nothing was ended");
    // What it cannot hold changes nothing either.
    let refused = server.call("SendTaskSuccess", json!({ "taskToken": token, "output": "no json" }));
    assert_eq!(refused, Err("InvalidOutput".to_owned()));
    send(&token).unwrap();
    assert!(send(&token).is_err(), "a token is used once");
    around.now_ms.fetch_add(61_000, Ordering::SeqCst);
    server.engine.clock_was_set();
    let deadline = Instant::now() + BOUNDED;
    while [status(&first), status(&late)].contains(&json!("RUNNING")) {
        assert!(Instant::now() < deadline, "its time is never over");
        std::thread::yield_now();
    }
    let refused = send(&other).expect_err("its time is over");
    assert!(matches!(refused.as_str(), "TaskDoesNotExist" | "TaskTimedOut"), "{refused}");
    let ended = [status(&first), status(&late)];
    assert!(ended.contains(&json!("SUCCEEDED")) && ended.contains(&json!("FAILED")), "{ended:?}");
    for arn in [&first, &late] {
        let events = history(&server, arn.as_str().unwrap());
        let ends =
            events.iter().filter(|event| event["type"].as_str().unwrap().starts_with("Activity")).count();
        assert_eq!(ends, 3, "scheduled, started, ended once: {events:#?}");
    }
}
