//! The list of segments, the memory that they use, and the attached processes.

use crate::process::fork::Inside;
use crate::shm::mapping::{PAGE, SegmentView, Segments, creator};
use crate::sync::attach_count::{Liveness, State};
use crate::types::error::Errno;
use crate::types::mechanism::Mechanism;
use crate::types::shm::{Attacher, SegmentStatus, ShmUsage};
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Segments {
    /// Returns the live attached participants, each with the number of its attachments.
    pub fn attachers(&self, view: &SegmentView) -> Vec<Attacher> {
        let participants = &self.core.participants;
        let mut all = Vec::new();
        view.attach_count().for_each_live(participants.me_if_joined(), &participants.probe(Some(view)), |participant, count| {
            all.push(participants.attacher(participant, count));
        });
        all
    }

    /// `SHM_INFO`.
    pub fn shm_usage(&self) -> Result<ShmUsage> {
        let _inside = Inside::enter();
        for index in self.core.used_indexes(Mechanism::Shm) {
            // A marked segment does not count once its last attached participant exited.
            if let Ok(Some(view)) = self.at(index)
                && let head = view.head()
                && (head.is_dest() || head.state == State::Gone || self.core.rmid_forced())
                && self.live_after_reap(head.id).is_err()
            {
                self.destroy_if_unused(&view, false);
            }
        }
        let class = self.core.registry.class(Mechanism::Shm);
        let resident: u64 = self.core.used_indexes(Mechanism::Shm).map(|index| self.resident(index)).sum();
        Ok(ShmUsage {
            segments: class.in_use.load(Relaxed),
            pages: class.sum.load(Relaxed),
            resident: resident / PAGE,
            swapped: 0,
            max_index: self.core.max_index(Mechanism::Shm),
        })
    }

    /// Returns the number of bytes that a data file occupies.
    pub fn resident(&self, index: u16) -> u64 {
        rustix::fs::stat(self.data_path(index).c_str()).map_or(0, |stat| stat.st_blocks as u64 * 512)
    }

    /// Returns all segments with their attachers.
    pub fn segments(&self) -> Result<Vec<SegmentStatus>> {
        let _inside = Inside::enter();
        let mut all = Vec::new();
        for index in self.core.used_indexes(Mechanism::Shm) {
            let Ok(stat) = self.shm_stat_index(index.into(), true) else { continue };
            let Ok(Some(view)) = self.at(index) else { continue };
            let orphan = stat.nattch == 0 && !self.core.participants.probe(None).alive(creator(&view));
            all.push(SegmentStatus { stat, attached: self.attachers(&view), orphan, resident: self.resident(index) });
        }
        Ok(all)
    }
}
