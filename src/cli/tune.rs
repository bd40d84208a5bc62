//! `typingd tune` on the command line.

use std::io::{self, Write};
use std::path::PathBuf;

use super::exit::NONE_FITS;
use super::{Failure, progress, read_file};
use crate::base::files;
use crate::signals::trace::TraceReader;
use crate::tune::plan::{Choice, Plan};
use crate::tune::study::Study;
use crate::tune::{self, diff, html, json, table};

#[derive(Debug, clap::Args)]
pub(super) struct TuneArgs {
    /// Traces, each with its own conversations and users; `-` is standard input
    #[arg(value_name = "TRACE", required_unless_present = "diff")]
    traces: Vec<PathBuf>,
    /// Compare two recordings of different users under the current setting, and advise nothing
    #[arg(long, value_names = ["BEFORE", "AFTER"], num_args = 2, conflicts_with_all = ["traces", "html"])]
    diff: Option<Vec<PathBuf>>,
    /// The modes to try [default: idle,after_shown]
    #[arg(long, value_name = "MODES")]
    mode: Option<String>,
    /// The check intervals to try: times and ranges [default: 1s..15s]
    #[arg(long, value_name = "TIMES")]
    check: Option<String>,
    /// The dismissals to try: times and ranges [default: 500ms..10s]
    #[arg(long, value_name = "TIMES")]
    dismiss: Option<String>,
    /// The current setting, to compare with: 5s/2s or after_shown:5s/2s [default: the configuration's]
    #[arg(long, value_name = "[MODE:]CHECK/DISMISS")]
    current: Option<String>,
    /// The limits that a setting must keep, or none [default: none]
    #[arg(long, value_name = "LIMITS")]
    want: Option<String>,
    /// The measure to minimise within them [default: cost: missed seconds, and false ones by their weight]
    #[arg(long, alias = "minimize", value_name = "MEASURE")]
    minimise: Option<String>,
    /// The silence after which a user has gone [default: 30s]
    #[arg(long, value_name = "TIME")]
    away: Option<String>,
    /// Treat this share of the sent messages as abandoned, or none [default: as recorded]
    #[arg(long, value_name = "SHARE")]
    abandon: Option<String>,
    /// After how long the agent console drops an icon by itself, or none [default: unknown; both none and 2s are shown]
    #[arg(long, value_name = "TIME")]
    icon_ttl: Option<String>,
    /// The latency of a request, and of its response [default: 0ms]
    #[arg(long, value_name = "TIME")]
    latency: Option<String>,
    /// The share of lost requests [default: 0]
    #[arg(long, value_name = "SHARE")]
    loss: Option<String>,
    /// The requests a second that the org accepts [default: 2000/s]
    #[arg(long, value_name = "RATE")]
    limit: Option<String>,
    /// How many missed seconds a second of icon for no one is as bad as [default: 4]
    #[arg(long, value_name = "SECONDS")]
    false_cost: Option<String>,
    /// How many people type at once at the busiest [default: as many as in the trace's busiest five minutes]
    #[arg(long, value_name = "N")]
    peak: Option<String>,
    /// The share of the org's requests that typing may take then, messages not counted [default: 25%]
    #[arg(long, value_name = "SHARE")]
    share: Option<String>,
    /// Study this channel only, by its address
    #[arg(long, value_name = "CHANNEL")]
    to: Option<String>,
    /// Study each channel by itself as well [default: true, where a trace names several]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    by_channel: Option<String>,
    /// What counts as composing: message, burst or sent-only [default: message]
    #[arg(long, value_name = "TRUTH")]
    truth: Option<String>,
    /// The seed of random choices [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// The configuration with the current timing [default: /etc/typingd/typingd.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Also write a report for a browser to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// 25 lines for a terminal
    Table,
    /// Everything, for programs
    Json,
}

impl TuneArgs {
    fn choices(&self) -> impl Iterator<Item = Choice<'_>> {
        let values = [
            &self.mode,
            &self.check,
            &self.dismiss,
            &self.current,
            &self.want,
            &self.minimise,
            &self.away,
            &self.abandon,
            &self.icon_ttl,
            &self.latency,
            &self.loss,
            &self.limit,
            &self.false_cost,
            &self.peak,
            &self.share,
            &self.to,
            &self.by_channel,
            &self.truth,
            &self.seed,
        ];
        Plan::OPTIONS.into_iter().zip(values).filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

pub(super) fn run(args: &TuneArgs) -> Result<(), Failure> {
    let config = read_file(args.config.clone(), true).config()?;
    let plan = Plan::new(&config.policy.rules).with_channels(&config.policy.channels).with(args.choices());
    let plan =
        plan.map_err(|problems| Failure::usage(problems.iter().map(|problem| format!("--{problem}")).collect()))?;
    if let Some([before, after]) = args.diff.as_deref() {
        return compare(before, after, &plan, args.format);
    }
    if let Some(path) = &args.html {
        // Before work that may take minutes.
        files::can_write(path).map_err(|e| format!("--html {}: can't be written: {e}", path.display()))?;
    }
    let study = read(&args.traces, &plan)?;
    let progress = progress(plan.grid.len() + 1, "settings");
    let report = tune::tune(study, &plan, usize::MAX, &|| progress.inc(1));
    progress.finish_and_clear();
    // Results that took minutes are printed even if the page can't be written.
    let page = args.html.as_deref().map_or(Ok(()), |path| {
        let written = std::fs::write(path, html::report(&report));
        written.map_err(|e| format!("--html {}: can't be written: {e}", path.display()))
    });
    let mut stdout = io::stdout().lock();
    match args.format {
        Format::Table => stdout.write_all(table::report(&report).as_bytes())?,
        Format::Json => write_json(&mut stdout, &json::report(&report))?,
    }
    stdout.flush()?;
    page?;
    // The results have said why.
    if report.decides() { Ok(()) } else { Err(Failure { code: NONE_FITS, problems: Vec::new() }) }
}

fn read(traces: &[PathBuf], plan: &Plan) -> Result<Study, Failure> {
    let traces: Result<Vec<_>, _> = traces.iter().map(|path| TraceReader::open(path)).collect();
    let traces = traces.map_err(|error| error.to_string())?;
    let study = Study::read_channel(traces, plan.to.as_deref()).map_err(|error| error.to_string())?;
    if study.keys() == 0 {
        return Err("there is no keystroke in the traces: nothing can be measured".into());
    }
    study.fits(plan).map_err(|error| error.to_string())?;
    Ok(study)
}

fn compare(before: &PathBuf, after: &PathBuf, plan: &Plan, format: Format) -> Result<(), Failure> {
    let [before, after] = [before, after].map(|path| read(std::slice::from_ref(path), plan));
    let diff = diff::diff(before?, after?, plan);
    let mut stdout = io::stdout().lock();
    match format {
        Format::Table => stdout.write_all(diff::table(&diff).as_bytes())?,
        Format::Json => write_json(&mut stdout, &diff::json(&diff))?,
    }
    stdout.flush()?;
    Ok(())
}

fn write_json(output: &mut impl Write, value: &serde_json::Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *output, value).map_err(io::Error::from)?;
    writeln!(output)
}
