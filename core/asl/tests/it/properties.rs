//! What holds of every machine and every world.

use proptest::prelude::*;
use selvedge_asl::Status;
use serde_json::{Map, Value, json};

use crate::world::{Answer, World};

/// A machine whose states go forwards only, with tasks, parallels and maps; and answers for its tasks.
fn machines() -> impl Strategy<Value = (Value, Vec<(String, u8)>)> {
    let kinds = prop::collection::vec((0u8..8, 0u8..4, any::<bool>()), 1..8);
    kinds.prop_map(|kinds| {
        let mut answers = Vec::new();
        let mut states = Map::new();
        let last = kinds.len() - 1;
        for (index, (kind, answer, handled)) in kinds.iter().enumerate() {
            let name = format!("S{index}");
            let mut state = match kind {
                0 => json!({"Type": "Pass", "Parameters": {"v.$": "$$.State.Name"}}),
                1 => json!({"Type": "Wait", "Seconds": answer}),
                2 | 3 => {
                    answers.push((name.clone(), *answer));
                    json!({"Type": "Task", "Resource": "arn:aws:states:::x:y"})
                }
                4 | 5 => {
                    let branch = |letter: &str| {
                        let inner = format!("{name}{letter}");
                        let mut states = Map::new();
                        states.insert(
                            inner.clone(),
                            json!({"Type": "Task", "Resource": "arn:aws:states:::x:y", "End": true}),
                        );
                        json!({"StartAt": inner, "States": states})
                    };
                    answers.push((format!("{name}A"), *answer));
                    json!({"Type": "Parallel", "Branches": [branch("A"), branch("B")]})
                }
                _ => {
                    let inner = format!("{name}I");
                    answers.push((inner.clone(), *answer));
                    let mut states = Map::new();
                    states.insert(
                        inner.clone(),
                        json!({"Type": "Task", "Resource": "arn:aws:states:::x:y", "End": true}),
                    );
                    json!({"Type": "Map", "ItemsPath": "$$.Execution.Input.items", "MaxConcurrency": answer,
                        "ItemProcessor": {"StartAt": inner, "States": states}})
                }
            };
            if *kind >= 2 && *handled {
                state["Retry"] = json!([{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1}]);
            }
            if index == last {
                state["End"] = json!(true);
            } else {
                state["Next"] = json!(format!("S{}", index + 1));
            }
            states.insert(name, state);
        }
        (json!({"StartAt": "S0", "States": states}), answers)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Ids follow each other, every event follows an earlier one, nothing follows the end, and two runs are equal.
    #[test]
    fn histories_are_whole((definition, answers) in machines()) {
        let run = || {
            let mut world = World::new(&definition, &json!({"items": [1, 2, 3]}));
            for (state, answer) in &answers {
                world = match answer {
                    0 => world.answer(state, Answer::Error("E", "c")),
                    1 => world.answer(state, Answer::Error("E", "c")).answer(state, Answer::Error("E", "c")),
                    _ => world,
                };
            }
            world.run()
        };
        let world = run();
        for (index, event) in world.events.iter().enumerate() {
            prop_assert_eq!(event.id, index as u64 + 1);
            prop_assert!(event.previous < event.id);
        }
        prop_assert!(matches!(world.execution.status(), Status::Succeeded | Status::Failed));
        let ends = world.types().iter().filter(|name| matches!(name.as_str(), "ExecutionSucceeded" | "ExecutionFailed")).count();
        prop_assert_eq!(ends, 1);
        prop_assert!(world.types().last().unwrap().starts_with("Execution"));
        prop_assert_eq!(&world.events, &run().events);
    }

    /// Whatever failed can be driven on to a good end, and nothing that had succeeded is asked for again.
    #[test]
    fn a_redrive_comes_to_a_good_end((definition, answers) in machines()) {
        let mut world = World::new(&definition, &json!({"items": [1, 2, 3]}));
        for (state, answer) in &answers {
            if *answer < 2 {
                world = world.answer(state, Answer::Error("E", "c")).answer(state, Answer::Error("E", "c"));
            }
        }
        let mut world = world.run();
        for _ in 0..40 {
            if world.execution.status() == Status::Succeeded {
                break;
            }
            let is_redriven = world.with(|execution, at| execution.handle_redrive(at));
            prop_assert!(is_redriven);
            world.settle();
        }
        prop_assert_eq!(world.execution.status(), Status::Succeeded);
        for (index, event) in world.events.iter().enumerate() {
            prop_assert_eq!(event.id, index as u64 + 1);
        }
    }
}
