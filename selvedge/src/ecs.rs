//! `selvedge ecs`: task definitions of Amazon ECS – joined to a mesh, looked through, and tried without a container engine.

mod document;
mod inject;
mod lint;
mod run;
mod task;

use crate::exit::Failure;

/// Join an ECS task definition to a mesh, look it through, or run it here
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge ecs inject task-definition.json --node mesh/my-mesh/virtualNode/user-service-v1
  selvedge ecs lint task-definition.json
  sudo selvedge ecs run meshed.json --command user-service=./user-service

See docs/guide/ecs.md.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Inject(Box<inject::Args>),
    Lint(lint::Args),
    Run(Box<run::Args>),
}

pub(crate) fn execute(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Inject(args) => inject::run(args),
        Action::Lint(args) => lint::run(args),
        Action::Run(args) => run::run(args),
    }
}
