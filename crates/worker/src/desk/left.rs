//! What an owner of the pool before this one left under keys, and that the present one hears of it.

use std::sync::Arc;

use skyward_runtime::link::Reply;
use skyward_runtime::model::Key;
use skyward_runtime::retention::Left;

use super::{Desk, Lane};

impl Desk {
    /// Says which keys there are, and of what another owner left and still runs when that has ended.
    pub(super) fn tell_keys(&self, lane: &Arc<Lane>) {
        let keys = self.worker.keep.keys();
        lane.outbox.put(false, |buffer| Reply::put_keys(buffer, keys.iter().map(|(key, left)| (key, *left))));
        for (key, _) in keys.into_iter().filter(|(_, left)| *left == Left::Running) {
            let (desk, lane) = (self.clone(), Arc::clone(lane));
            tokio::spawn(async move { desk.tell_end(&key, &lane).await });
        }
    }

    async fn tell_end(&self, key: &Key, lane: &Lane) {
        if let Some(told) = self.worker.keep.watch(key) {
            // Also when it was released, when the client asks for it itself, and when it has linked again.
            let _ = told.await;
        }
        let left = self.worker.keep.left(key);
        if left != Left::Running && !self.calls().over {
            lane.outbox.put(false, |buffer| Reply::put_left(buffer, key, left));
        }
    }
}
