//! `spec-ctrl`: what is done about speculation flaws, where it is not to be as the CPU needs.

use crate::Problem;
use crate::values::boolean;

/// Each mitigation that can be asked for or forbidden; nothing means "as the CPU needs".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SpecCtrl {
    /// `ibrs`: IBRS while the hypervisor runs.
    pub ibrs: Option<bool>,
    /// `ibpb`: a prediction barrier between domains.
    pub ibpb: Option<bool>,
    /// `ibpb-entry`: a prediction barrier on every entry from a guest.
    pub ibpb_entry: Option<bool>,
    /// `verw`: buffers overwritten on every exit to a guest.
    pub verw: Option<bool>,
}

impl SpecCtrl {
    /// As the CPU needs.
    pub const DEFAULT: SpecCtrl = SpecCtrl { ibrs: None, ibpb: None, ibpb_entry: None, verw: None };
    /// Nothing.
    const OFF: SpecCtrl = SpecCtrl {
        ibrs: Some(false),
        ibpb: Some(false),
        ibpb_entry: Some(false),
        verw: Some(false),
    };

    /// A list of: a boolean or `xen=BOOL` for all; `NAME`, `NAME=BOOL`, `no-NAME` for one.
    pub(crate) fn parse(
        mut self,
        text: &[u8],
        report: &mut impl FnMut(&[u8], Problem),
    ) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        for part in text.split(|&b| b == b',') {
            if let Err(problem) = self.part(part) {
                report(part, problem);
            }
        }
        Some(self)
    }

    fn part(&mut self, part: &[u8]) -> Result<(), Problem> {
        if let Some(all) = boolean(Some(part)) {
            *self = if all { SpecCtrl::DEFAULT } else { SpecCtrl::OFF };
            return Ok(());
        }
        let (name, value) = match part.iter().position(|&b| b == b'=') {
            Some(i) => (part.get(..i).unwrap_or(b""), part.get(i.saturating_add(1)..)),
            None => (part, None),
        };
        let (name, negated) = match name.strip_prefix(b"no-") {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        let on = || boolean(value).map(|on| on != negated).ok_or(Problem::Malformed);
        match name {
            b"xen" => *self = if on()? { SpecCtrl::DEFAULT } else { SpecCtrl::OFF },
            b"ibrs" => self.ibrs = Some(on()?),
            b"ibpb" => self.ibpb = Some(on()?),
            b"ibpb-entry" => self.ibpb_entry = Some(on()?),
            b"verw" | b"md-clear" => self.verw = Some(on()?),
            // Retpolines are compiled in.
            b"bti-thunk" if value == Some(b"retpoline") => {}
            b"pv" | b"hvm" | b"msr-sc" | b"rsb" | b"bhb-entry" | b"bti-thunk" | b"bti"
            | b"ssbd" | b"psfd" | b"eager-fpu" | b"l1d-flush" | b"branch-harden" | b"srb-lock"
            | b"unpriv-mmio" | b"gds-mit" | b"div-scrub" | b"lock-harden" | b"bhi-dis-s"
            | b"bp-spec-reduce" | b"ibpb-alt" | b"stibp" => return Err(Problem::NoEffect),
            _ => return Err(Problem::Unknown),
        }
        Ok(())
    }
}
