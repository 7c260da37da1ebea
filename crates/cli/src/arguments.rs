//! What can be typed. Everything is checked here, before anything is done.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use skyward::accelerator::{Count, Manufacturer};
use skyward::catalog::Order;
use skyward::provider::Architecture;
use skyward::{Accelerator, Allocation, Nodes, Selection, Usd};

use crate::range::Range;

/// What clouds have for rent, what a pool of it would cost, and what is rented and nobody's. Rents nothing.
#[derive(Debug, Parser)]
#[command(name = "sky", version, arg_required_else_help = true)]
pub(crate) struct Sky {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What is for rent: search, sum up, ask again.
    #[command(subcommand)]
    Offers(OffersCommand),
    /// What a pool would try, in order, with its price and why each other offer lost.
    Plan(PlanArguments),
    /// Who can be asked, and whether their keys are good.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// A pool that a program has left: what there is of it; runs a command on its nodes, or gives it back.
    Attach(AttachArguments),
    /// What programs of yours have rented and nobody owns any more; gives it back with --yes.
    Reap(ReapArguments),
}

/// A pool that nobody has. Leases are not renewed: that does a program that attaches, which may come at any time.
#[derive(Debug, Args)]
pub(crate) struct AttachArguments {
    /// The pool, by its name or its id.
    pub(crate) name: String,
    /// Run the command on this node, by its rank. Default: on all nodes, at once.
    #[arg(long, value_name = "RANK", requires = "command")]
    pub(crate) node: Option<u32>,
    /// Give it back, also when programs could still attach to it.
    #[arg(long, conflicts_with_all = ["command", "json"])]
    pub(crate) stop: bool,
    /// The folder of its journal, as `Builder::state` named it. Default: $XDG_STATE_HOME/skyward, else
    /// ~/.local/state/skyward.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long, conflicts_with = "command")]
    pub(crate) json: bool,
    /// What to run, after `--`: one argument is a line for the shell, several are a program and its arguments.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// What is given back. Pools that a living program has never are.
#[derive(Debug, Args)]
pub(crate) struct ReapArguments {
    /// Give it back; without this it is only listed.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only this pool, by its name or its id, also when it can still be attached to; may be given several times.
    #[arg(long, value_name = "NAME OR ID")]
    pub(crate) pool: Vec<String>,
    /// Also pools that can still be attached to.
    #[arg(long)]
    pub(crate) all: bool,
    /// Give back what --pool names although it was begun elsewhere: nobody knows whether somebody uses it.
    #[arg(long, requires = "pool")]
    pub(crate) force: bool,
    /// Only what this computer knows of: no cloud is asked what else is there.
    #[arg(long, conflicts_with = "force")]
    pub(crate) known: bool,
    /// Take what --pool names from the journal and give nothing back: for what can never be given back, as its key
    /// does not exist any more. Says what it forgets.
    #[arg(long, requires = "pool", conflicts_with_all = ["all", "watch"])]
    pub(crate) forget: bool,
    /// The folder of its journal, as `Builder::state` named it. Default: $XDG_STATE_HOME/skyward, else
    /// ~/.local/state/skyward.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// Again and again, until it is interrupted.
    #[arg(long)]
    pub(crate) watch: bool,
    /// The seconds between two times.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) every: u64,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProvidersCommand {
    /// Every provider, and where its key was found. Asks nobody.
    List(ProvidersArguments),
    /// One cheap call with each key that was found; exit code 1 when one is refused or there is none.
    Check(CheckArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ProvidersArguments {
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Only these.
    pub(crate) provider: Vec<String>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OffersCommand {
    /// The offers that fit, cheapest first; exit code 1 when there is none.
    List(ListArguments),
    /// The cheapest offer that fits; exit code 1 when there is none.
    Cheapest(CheapestArguments),
    /// For each provider and accelerator, how many offers there are and what they cost; exit code 1 when there is none.
    Summary(SummaryArguments),
    /// One SQL query on the view `catalog`, which has a line for each offer. Nothing can be changed.
    Sql(SqlArguments),
    /// Asks providers for their offers now.
    Refresh(RefreshArguments),
}

/// How to answer.
#[derive(Clone, Debug, Args)]
pub(crate) struct Output {
    /// Answer in JSON, with exact prices as text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask no provider: answer from what is known, however old it is.
    #[arg(long)]
    pub(crate) cached: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// By what to put them in order.
    #[arg(long, value_enum, default_value_t = OrderName::Price)]
    pub(crate) order: OrderName,
    /// The most lines; 0 for all.
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct CheapestArguments {
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// How many of them.
    #[arg(short = 'n', long, default_value_t = 1)]
    pub(crate) number: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct SummaryArguments {
    #[command(flatten)]
    pub(crate) filters: Filters,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArguments {
    /// One SELECT, such as "SELECT region, min(spot_price) FROM catalog GROUP BY region".
    pub(crate) query: String,
    /// Answer in JSON. Prices are numbers here, and may be rounded.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask no provider: answer from what is known, however old it is.
    #[arg(long)]
    pub(crate) cached: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RefreshArguments {
    /// Only this provider; may be given several times.
    #[arg(long)]
    pub(crate) provider: Vec<String>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What an offer must have. Ranges: 8 is at least eight, 4..8 four to eight, =8 exactly eight.
#[derive(Clone, Debug, Args)]
pub(crate) struct Filters {
    /// Of this provider; may be given several times.
    #[arg(long)]
    pub(crate) provider: Vec<String>,
    /// With this accelerator, such as A100, A100-80GB:8, "RTX 4090"; without a number any number of them.
    #[arg(long, value_parser = wanted)]
    pub(crate) accelerator: Option<Wanted>,
    /// With so many accelerators.
    #[arg(long, value_name = "RANGE")]
    pub(crate) accelerator_count: Option<Range<f64>>,
    /// With so much memory on each accelerator, in GB.
    #[arg(long, value_name = "RANGE")]
    pub(crate) accelerator_memory: Option<Range<u32>>,
    /// With accelerators of this generation, such as Hopper.
    #[arg(long, value_name = "NAME")]
    pub(crate) generation: Option<String>,
    /// With accelerators of this maker: NVIDIA, AMD, AWS, Intel or Google.
    #[arg(long, value_parser = manufacturer)]
    pub(crate) manufacturer: Option<Manufacturer>,
    /// Without accelerators.
    #[arg(long, conflicts_with_all = ["accelerator", "accelerator_count", "accelerator_memory", "generation", "manufacturer"])]
    pub(crate) cpu_only: bool,
    /// With so many processors.
    #[arg(long, value_name = "RANGE")]
    pub(crate) vcpus: Option<Range<u32>>,
    /// With so much memory, in GB.
    #[arg(long, value_name = "RANGE")]
    pub(crate) memory: Option<Range<u32>>,
    /// With this processor: x86_64 or aarch64.
    #[arg(long, visible_alias = "architecture")]
    pub(crate) cpu: Option<Architecture>,
    /// In this region, as its provider calls it.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// In which market: spot, on-demand, spot-if-available or cheapest.
    #[arg(long, default_value_t)]
    pub(crate) allocation: Allocation,
    /// The same as --allocation spot.
    #[arg(long, conflicts_with_all = ["allocation", "on_demand"])]
    pub(crate) spot: bool,
    /// The same as --allocation on-demand.
    #[arg(long, conflicts_with = "allocation")]
    pub(crate) on_demand: bool,
    /// Costing at most so many dollars an hour: the price that would really be paid.
    #[arg(long, value_name = "USD", visible_alias = "max-hourly-cost")]
    pub(crate) max_price: Option<Usd>,
    /// With this among what else the provider says; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) specific: Vec<(String, String)>,
    /// Also what is sold out.
    #[arg(long)]
    pub(crate) sold_out: bool,
}

/// What the specs want. Given once, it holds for every spec; --spec may say otherwise for one.
#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// A spec on this provider; may be given several times. Default: one on each provider that is known.
    #[arg(long)]
    pub(crate) provider: Vec<String>,
    /// A spec of its own, such as "provider=local vcpus=4 max-hourly-cost=0.50"; may be given several times.
    /// Its words are the flags of this command; what it does not say, they say.
    #[arg(long, value_name = "WORDS")]
    pub(crate) spec: Vec<String>,
    #[command(flatten)]
    pub(crate) wants: Wants,
    /// In which order offers are tried: cheapest, first or available.
    #[arg(long, value_parser = selection, default_value = "cheapest")]
    pub(crate) selection: Selection,
    /// The most that all nodes together may cost an hour, in dollars.
    #[arg(long, value_name = "USD")]
    pub(crate) max_pool_hourly_cost: Option<Usd>,
    /// The most candidates to show; 0 for all, which are 20 for each spec.
    #[arg(long, default_value_t = 10)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What one spec wants.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wants {
    /// How many nodes: 4, or 2:8 for two at first and eight at most. Default 1.
    #[arg(long, value_parser = nodes)]
    pub(crate) nodes: Option<Nodes>,
    /// The accelerators of each machine, such as A100-80GB:8: this model, exactly this many.
    #[arg(long)]
    pub(crate) accelerator: Option<Accelerator>,
    /// At least so many processors.
    #[arg(long)]
    pub(crate) vcpus: Option<u32>,
    /// At least so much memory, in GB.
    #[arg(long, visible_alias = "memory")]
    pub(crate) memory_gb: Option<u32>,
    /// A disk of at least so many GB.
    #[arg(long)]
    pub(crate) disk_gb: Option<u32>,
    /// The processor: x86_64 or aarch64. Default: this computer's.
    #[arg(long, visible_alias = "cpu")]
    pub(crate) architecture: Option<Architecture>,
    /// The market: spot, on-demand, spot-if-available (the default) or cheapest.
    #[arg(long)]
    pub(crate) allocation: Option<Allocation>,
    /// The same as --allocation spot.
    #[arg(long, conflicts_with_all = ["allocation", "on_demand"])]
    pub(crate) spot: bool,
    /// The same as --allocation on-demand.
    #[arg(long, conflicts_with = "allocation")]
    pub(crate) on_demand: bool,
    /// The region, as its provider calls it.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// The most that one node may cost an hour, in dollars.
    #[arg(long, value_name = "USD", visible_alias = "max-price")]
    pub(crate) max_hourly_cost: Option<Usd>,
}

/// One spec of --spec, read as if its words were arguments.
#[derive(Debug, Parser)]
#[command(name = "--spec", no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct OneSpec {
    #[arg(long)]
    pub(crate) provider: String,
    #[command(flatten)]
    pub(crate) wants: Wants,
}

/// An accelerator, and whether its number was said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) accelerator: Accelerator,
    pub(crate) count: Option<Count>,
}

/// [`Order`] by the names that are typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OrderName {
    Price,
    PricePerAccelerator,
    Vcpus,
    Memory,
    Accelerators,
    AcceleratorMemory,
}

impl From<OrderName> for Order {
    fn from(name: OrderName) -> Self {
        match name {
            OrderName::Price => Self::Price,
            OrderName::PricePerAccelerator => Self::PricePerAccelerator,
            OrderName::Vcpus => Self::Vcpus,
            OrderName::Memory => Self::Memory,
            OrderName::Accelerators => Self::Accelerators,
            OrderName::AcceleratorMemory => Self::AcceleratorMemory,
        }
    }
}

impl Filters {
    pub(crate) fn allocation(&self) -> Allocation {
        market(self.spot, self.on_demand).unwrap_or(self.allocation)
    }
}

impl Wants {
    pub(crate) fn allocation(&self) -> Option<Allocation> {
        market(self.spot, self.on_demand).or(self.allocation)
    }

    /// What is said here, and what `other` says where nothing is.
    pub(crate) fn or(self, other: &Self) -> Self {
        let allocation = self.allocation().or(other.allocation());
        Self {
            nodes: self.nodes.or(other.nodes),
            accelerator: self.accelerator.or_else(|| other.accelerator.clone()),
            vcpus: self.vcpus.or(other.vcpus),
            memory_gb: self.memory_gb.or(other.memory_gb),
            disk_gb: self.disk_gb.or(other.disk_gb),
            architecture: self.architecture.or(other.architecture),
            allocation,
            spot: false,
            on_demand: false,
            region: self.region.or_else(|| other.region.clone()),
            max_hourly_cost: self.max_hourly_cost.or(other.max_hourly_cost),
        }
    }
}

/// The market that a flag of its own names.
const fn market(spot: bool, on_demand: bool) -> Option<Allocation> {
    match (spot, on_demand) {
        (true, _) => Some(Allocation::Spot),
        (_, true) => Some(Allocation::OnDemand),
        _ => None,
    }
}

fn wanted(typed: &str) -> Result<Wanted, String> {
    let accelerator: Accelerator = typed.parse().map_err(|it: skyward::InvalidRequest| it.to_string())?;
    let said = typed.contains(':') || accelerator.count != Count::ONE;
    Ok(Wanted { count: said.then_some(accelerator.count), accelerator })
}

fn manufacturer(typed: &str) -> Result<Manufacturer, String> {
    let names = Manufacturer::ALL.map(Manufacturer::name).join(", ");
    let found = Manufacturer::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(typed));
    found.ok_or_else(|| format!("it is one of {names}"))
}

fn pair(typed: &str) -> Result<(String, String), String> {
    let (key, value) = typed.split_once('=').ok_or_else(|| "write it as KEY=VALUE".to_owned())?;
    Ok((key.to_owned(), value.to_owned()))
}

fn selection(typed: &str) -> Result<Selection, String> {
    let all = [Selection::Cheapest, Selection::First, Selection::Available];
    all.into_iter()
        .find(|it| it.to_string() == typed)
        .ok_or_else(|| "it is cheapest, first or available".to_owned())
}

fn nodes(typed: &str) -> Result<Nodes, String> {
    let number = |it: &str| {
        it.parse::<u32>().map_err(|_| "write 4, or 2:8 for two at first and eight at most".to_owned())
    };
    let nodes = match typed.split_once(':') {
        None => Nodes::from(number(typed)?),
        Some((desired, most)) => Nodes::from((number(desired)?, number(most)?)),
    };
    nodes.startable().map_err(|it| it.to_string())
}

#[test]
fn the_arguments_fit_together() {
    use clap::CommandFactory;
    Sky::command().debug_assert();
    OneSpec::command().debug_assert();
}
