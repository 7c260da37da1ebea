//! Which of a node's accelerators are a slot's own.

use skyward_runtime::model::Accelerator;
use skyward_runtime::model::accelerator::Count;

/// The variables that tell CUDA and HIP which devices there are. Not `ROCR_VISIBLE_DEVICES`: what it
/// leaves is counted from 0 again, and HIP, which heeds both, would look for numbers that are gone.
pub(super) const VARIABLES: [&str; 2] = ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"];

/// One slot's share of a node's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// By their place on the node, from 0, in the order of the kinds.
    pub(super) devices: Vec<u32>,
    /// The same by kind.
    pub(super) accelerators: Vec<Accelerator>,
}

impl Share {
    /// The share of slot `slot` of `slots`: every device is some slot's, and no two slots have the same
    /// one while there are enough. Where there are fewer than slots, neighbours share one.
    pub(super) fn of(slot: u32, slots: u32, all: &[Accelerator]) -> Self {
        let count = all.iter().map(devices).sum::<u64>();
        let slots = u64::from(slots.max(1));
        let at = |slot: u64| slot * count / slots;
        let first = at(slot.into());
        let end = at(u64::from(slot) + 1).max(first + 1).min(count);
        let mut accelerators = Vec::new();
        let mut before = 0;
        for kind in all {
            let after = before + devices(kind);
            match end.min(after).saturating_sub(first.max(before)) {
                0 => {}
                own if own == devices(kind) => accelerators.push(kind.clone()),
                own => {
                    let parts = u32::try_from(own * u64::from(Count::PARTS)).unwrap_or(u32::MAX);
                    accelerators.push(kind.clone().count(Count::of_parts(parts)));
                }
            }
            before = after;
        }
        Self { devices: (first..end).filter_map(|it| u32::try_from(it).ok()).collect(), accelerators }
    }

    /// What the variables say; `None` on a node without devices, where they say nothing.
    pub(super) fn visible(&self) -> Option<String> {
        let devices: Vec<String> = self.devices.iter().map(u32::to_string).collect();
        (!devices.is_empty()).then(|| devices.join(","))
    }
}

/// How many devices a node sees: a fraction of one is seen as one.
fn devices(kind: &Accelerator) -> u64 {
    kind.count.parts().div_ceil(Count::PARTS).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(counts: &[(&str, u32)]) -> Vec<Accelerator> {
        counts.iter().map(|(name, count)| Accelerator::custom(*name).count(*count)).collect()
    }

    #[test]
    fn each_slot_owns_its_share_and_neighbours_share_what_is_scarce() {
        for (count, slots, expected) in [
            (0, 2, vec![None, None]),
            (1, 3, vec![Some("0"), Some("0"), Some("0")]),
            (4, 2, vec![Some("0,1"), Some("2,3")]),
            (3, 2, vec![Some("0"), Some("1,2")]),
            (2, 4, vec![Some("0"), Some("0"), Some("1"), Some("1")]),
            (8, 1, vec![Some("0,1,2,3,4,5,6,7")]),
        ] {
            let all = kinds(&[("A100", count)]);
            let seen: Vec<_> = (0..slots).map(|it| Share::of(it, slots, &all).visible()).collect();
            assert_eq!(seen.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{count}/{slots}");
        }
    }

    #[test]
    fn a_share_names_its_kinds() {
        let all = kinds(&[("A100", 3), ("L4", 1)]);
        let share = Share::of(1, 2, &all);
        assert_eq!((share.devices, share.accelerators), (vec![2, 3], kinds(&[("A100", 1), ("L4", 1)])));
    }
}
