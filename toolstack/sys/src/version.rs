//! xen_version: which hypervisor this is.

use zerocopy::FromZeros;

use abi::version::{self, FeatureInfo, PlatformParameters, VarBuf, VersionCmd};
use abi::xen::Hypercall;

use crate::error::Result;
use crate::xen::{Call, Xen, text};

/// Room for texts of any length. Xen's own command line and lists are far shorter.
const ROOM: usize = 16384;

/// Who compiled the hypervisor, when and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileInfo {
    /// Compiler.
    pub compiler: String,
    /// User.
    pub user: String,
    /// Host's domain.
    pub domain: String,
    /// Date.
    pub date: String,
}

/// Which hypervisor this is: the parts that `xl info` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// What follows them, as in ".4".
    pub extra: String,
    /// Who compiled it.
    pub compile: CompileInfo,
    /// Names of the guest types that can run, with blanks between.
    pub capabilities: String,
    /// Change set.
    pub changeset: String,
    /// First address of its hole in PV address spaces.
    pub virt_start: u64,
    /// Bytes in a page.
    pub page_size: u32,
    /// Its command line.
    pub command_line: String,
    /// Identity of the build in hexadecimal; empty if it has none.
    pub build_id: String,
}

impl Xen {
    fn version_op(&self, name: &'static str, cmd: VersionCmd, address: u64) -> Result<i64> {
        self.call(Call::new(name), Hypercall::XEN_VERSION, [u64::from(cmd.0), address, 0, 0, 0])
    }

    /// A text in the untruncated form, or `None` where the hypervisor does not know that.
    fn long_text(&self, name: &'static str, cmd: VersionCmd) -> Result<Option<Vec<u8>>> {
        let mut buffer = self.pool.get(ROOM)?;
        let head = size_of::<VarBuf>();
        let room = ROOM.saturating_sub(head);
        buffer.put(0, &u32::try_from(room).unwrap_or(0).to_le_bytes());
        match self.version_op(name, cmd, buffer.address()) {
            Ok(count) => {
                let count = usize::try_from(count).unwrap_or(0).min(room);
                let mut bytes = vec![0; count];
                buffer.copy_to(head, &mut bytes);
                Ok(Some(bytes))
            }
            Err(e) if e.not_implemented() || e.errno() == Some(crate::Errno::INVAL) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A text by the new form, else by the old one of `size` bytes.
    fn version_text(
        &self,
        name: &'static str,
        long: VersionCmd,
        short: VersionCmd,
        size: usize,
    ) -> Result<String> {
        if let Some(bytes) = self.long_text(name, long)? {
            return Ok(text(&bytes));
        }
        let buffer = self.pool.get(size)?;
        self.version_op(name, short, buffer.address())?;
        Ok(text(&buffer.bytes(size)))
    }

    /// Major and minor version.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn version(&self) -> Result<(u32, u32)> {
        let word = self.version_op("xen_version version", VersionCmd::VERSION, 0)?;
        let word = u32::try_from(word).unwrap_or(0);
        Ok((word >> 16, word & 0xffff))
    }

    /// What follows the version, as in ".4".
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn extra_version(&self) -> Result<String> {
        let (long, short) = (VersionCmd::EXTRAVERSION2, VersionCmd::EXTRAVERSION);
        self.version_text("xen_version extraversion", long, short, version::EXTRAVERSION_LEN)
    }

    /// Names of the guest types that can run, with blanks between.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn capabilities(&self) -> Result<String> {
        let (long, short) = (VersionCmd::CAPABILITIES2, VersionCmd::CAPABILITIES);
        self.version_text("xen_version capabilities", long, short, version::CAPABILITIES_INFO_LEN)
    }

    /// Change set that it was built from.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn changeset(&self) -> Result<String> {
        let (long, short) = (VersionCmd::CHANGESET2, VersionCmd::CHANGESET);
        self.version_text("xen_version changeset", long, short, version::CHANGESET_INFO_LEN)
    }

    /// Its command line.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn command_line(&self) -> Result<String> {
        let (long, short) = (VersionCmd::COMMANDLINE2, VersionCmd::COMMANDLINE);
        self.version_text("xen_version commandline", long, short, version::COMMANDLINE_LEN)
    }

    /// Identity of the build; empty if it has none.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn build_id(&self) -> Result<Vec<u8>> {
        let name = "xen_version build_id";
        match self.long_text(name, VersionCmd::BUILD_ID) {
            Ok(id) => Ok(id.unwrap_or_default()),
            Err(e) if e.errno() == Some(crate::Errno::NODATA) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Who compiled it, when and with what.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn compile_info(&self) -> Result<CompileInfo> {
        let mut info = version::CompileInfo::new_zeroed();
        let cmd = u64::from(VersionCmd::COMPILE_INFO.0);
        let call = Call::new("xen_version compile_info");
        self.call_with(call, Hypercall::XEN_VERSION, cmd, &mut info)?;
        Ok(CompileInfo {
            compiler: text(&info.compiler),
            user: text(&info.compile_by),
            domain: text(&info.compile_domain),
            date: text(&info.compile_date),
        })
    }

    /// Feature bits of this domain (submap 0), numbered as in [`abi::version::feature`].
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn features(&self) -> Result<u32> {
        let mut info = FeatureInfo { submap_idx: 0, submap: 0 };
        let cmd = u64::from(VersionCmd::GET_FEATURES.0);
        let call = Call::new("xen_version get_features");
        self.call_with(call, Hypercall::XEN_VERSION, cmd, &mut info)?;
        Ok(info.submap)
    }

    /// First address of the hypervisor's hole in PV address spaces.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn virt_start(&self) -> Result<u64> {
        let mut parameters = PlatformParameters { virt_start: 0 };
        let cmd = u64::from(VersionCmd::PLATFORM_PARAMETERS.0);
        let call = Call::new("xen_version platform_parameters");
        self.call_with(call, Hypercall::XEN_VERSION, cmd, &mut parameters)?;
        Ok(parameters.virt_start)
    }

    /// All that `xl info` prints of the version.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn version_info(&self) -> Result<VersionInfo> {
        let (major, minor) = self.version()?;
        let page_size = self.version_op("xen_version pagesize", VersionCmd::PAGESIZE, 0)?;
        Ok(VersionInfo {
            major,
            minor,
            extra: self.extra_version()?,
            compile: self.compile_info()?,
            capabilities: self.capabilities()?,
            changeset: self.changeset()?,
            virt_start: self.virt_start()?,
            page_size: u32::try_from(page_size).unwrap_or(0),
            command_line: self.command_line()?,
            build_id: self.build_id()?.iter().map(|b| format!("{b:02x}")).collect(),
        })
    }
}
