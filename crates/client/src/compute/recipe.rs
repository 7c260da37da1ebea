//! What a pool was asked to be, as the journal has it, for a program that attaches to it by its name alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skyward_runtime::model::{Carrier, Image, Nodes, Requirements, Scaling, Selection, Usd, Worker};
use skyward_runtime::pool::{Spec, StartError};
use skyward_runtime::provider::Provider;

use super::Builder;
use crate::error::Error;
use crate::journal::provider;

/// All that a builder says of the pool itself, but for secrets and for what a cloud's settings keep to themselves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Recipe {
    specs: Vec<Wanted>,
    nodes: Nodes,
    selection: String,
    max_hourly_cost: Option<Usd>,
    max_total_cost: Option<Usd>,
    image: Image,
    worker: Worker,
    carrier: Carrier,
    scaling: Scaling,
    cluster: Option<bool>,
    interruptions: u32,
    crash_limit: u32,
    is_probed: bool,
}

/// A spec.
#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    provider: String,
    settings: String,
    requirements: Requirements,
    nodes: Option<Nodes>,
    image: Option<Image>,
}

impl Recipe {
    /// What this builder asks for, of these specs.
    pub(super) fn of(builder: &Builder, specs: &[Spec]) -> Self {
        let wanted = |it: &Spec| Wanted {
            provider: it.provider().name().to_owned(),
            settings: it.provider().settings(),
            requirements: it.wanted().clone(),
            nodes: it.own_nodes(),
            image: it.own_image().cloned(),
        };
        Self {
            specs: specs.iter().map(wanted).collect(),
            nodes: builder.nodes,
            selection: builder.selection.to_string(),
            max_hourly_cost: builder.max_hourly_cost,
            max_total_cost: builder.max_total_cost,
            image: builder.image.clone(),
            worker: builder.worker,
            carrier: builder.carrier,
            scaling: builder.scaling,
            cluster: builder.cluster,
            interruptions: builder.interruptions,
            crash_limit: builder.crash_limit,
            is_probed: builder.probe.is_some(),
        }
    }

    /// What a builder says that begins the same pool. Its own specs are where providers are taken from that nobody can
    /// make again.
    ///
    /// # Errors
    /// When a provider cannot be made, or a function of the pool's is missing, and it is not the builder's either.
    pub(super) fn fill(self, mut builder: Builder, pool: &str) -> Result<Builder, Error> {
        let missing = |reason| StartError::NotThere { pool: pool.to_owned(), reason };
        if self.is_probed && builder.probe.is_none() {
            return Err(missing("its nodes are probed: give the probe to `.health(..)`").into());
        }
        builder.selection = match (self.selection.as_str(), builder.selection) {
            ("cheapest", _) => Selection::Cheapest,
            ("first", _) => Selection::First,
            ("available", _) => Selection::Available,
            (_, own @ Selection::Custom(_)) => own,
            _ => return Err(missing("it has a selection of its own: give it to `.selection(..)`").into()),
        };
        let mut known: Vec<Arc<dyn Provider>> =
            std::mem::take(&mut builder.specs).iter().map(|it| Arc::clone(it.provider())).collect();
        for Wanted { provider: name, settings, requirements, nodes, image } in self.specs {
            let is_it = |it: &&Arc<dyn Provider>| it.name() == name && it.settings() == settings;
            let found = match known.iter().find(is_it) {
                Some(found) => Arc::clone(found),
                None => {
                    let made = provider(&name, &settings).map_err(|it| {
                        it.context(format!(
                            "the pool has machines of {name}: give a spec on it to `.spec(..)`"
                        ))
                    })?;
                    // Specs of one provider go on to share it: its writes take turns.
                    known.push(Arc::clone(&made));
                    made
                }
            };
            let mut spec = Spec::on_shared(found).requirements(requirements);
            if let Some(nodes) = nodes {
                spec = spec.nodes(nodes);
            }
            if let Some(image) = image {
                spec = spec.image(image);
            }
            builder.specs.push(spec);
        }
        Ok(Builder {
            nodes: self.nodes,
            max_hourly_cost: self.max_hourly_cost,
            max_total_cost: self.max_total_cost,
            image: self.image,
            worker: self.worker,
            carrier: self.carrier,
            scaling: self.scaling,
            cluster: self.cluster,
            interruptions: self.interruptions,
            crash_limit: self.crash_limit,
            ..builder
        })
    }
}
