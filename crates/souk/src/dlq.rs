//! `souk dlq`: dead letters, which are messages that a service could not handle.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bus::{Bus, DeadLetter, DeadLetterFilter};
use chassis::{Context, CrashPoints};
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::{data, out::say};

/// What `souk dlq` takes.
#[derive(Debug, Args)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the dead letters that are not replayed yet.
    List {
        /// Only those of this topic, such as `orders`.
        topic: Option<String>,
        /// Also those that are replayed. RabbitMQ does not keep them.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Publish dead letters again, each only for the service that could not handle it.
    Replay {
        /// Only those of this topic.
        #[arg(long)]
        topic: Option<String>,
        /// Only those of this group, which is the service's name.
        #[arg(long)]
        group: Option<String>,
        /// Only that of the event with this id, even if it is already replayed.
        #[arg(long, value_name = "EVENT_ID")]
        id: Option<String>,
        /// Apply them even if an earlier event of the same order, level or payment is missing.
        #[arg(long)]
        skip_missing: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Data folder of the fleet.
    #[arg(long, env = "SOUK_DATA", default_value = "souk-data")]
    data: PathBuf,
    /// URL of the bus, by default `SOUK_BUS_URL` or that of the data folder; with Dapr the URL of the broker itself.
    #[arg(long, value_name = "URL")]
    bus: Option<String>,
    /// Print the letters as JSON.
    #[arg(long)]
    json: bool,
}

/// Lists or replays.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command.action {
        Action::List { topic, all, place } => {
            let bus = open(&place).await?;
            let letters =
                bus.dead_letters(&DeadLetterFilter { topic, replayed: all, ..DeadLetterFilter::default() }).await?;
            print(&letters, place.json)
        }
        Action::Replay { topic, group, id, skip_missing, place } => {
            let bus = open(&place).await?;
            let replayed = id.is_some();
            let (replayed, left) = bus.replay(&DeadLetterFilter { topic, group, id, replayed, skip_missing }).await?;
            print(&replayed, place.json)?;
            if left.is_empty() {
                return Ok(());
            }
            let places: Vec<String> = left.iter().map(|letter| format!("{} {}", letter.topic, letter.key)).collect();
            bail!("these are not events and cannot be replayed: {}", places.join(", "))
        }
    }
}

async fn open(place: &Place) -> anyhow::Result<Bus> {
    let url = place.bus.clone().unwrap_or_else(|| data::bus_url(&place.data));
    if let Some(path) = url.strip_prefix("embedded:")
        && !Path::new(path).exists()
    {
        bail!("the bus {path} does not exist; set the data folder with --data or the bus with --bus URL");
    }
    let ctx = Context::new("dlq", Context::new_instance(), CancellationToken::new(), CrashPoints::none());
    Bus::open(&url, &ctx).await.context("the bus")
}

fn print(letters: &[DeadLetter], json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string(letters)?);
        return Ok(());
    }
    if letters.is_empty() {
        say!("no dead letters");
        return Ok(());
    }
    let head = ["TOPIC", "GROUP", "KEY", "ID", "KIND", "REASON"].map(str::to_owned);
    let row = |letter: &DeadLetter| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let reason = letter.reason.lines().next().unwrap_or_default();
        let reason = if letter.replayed { format!("(replayed) {reason}") } else { reason.to_owned() };
        let (topic, group, key) = (letter.topic.clone(), letter.group.clone(), letter.key.clone());
        [topic, group, key, or_dash(&letter.id), or_dash(&letter.kind), reason]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(letters.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  "));
        say!("{}{}", cells.collect::<String>(), row[5]);
    }
    Ok(())
}
