//! The stack of a thread in a crash report, and what its frames are called.

use super::super::json::{List, Object, Slot};
use super::super::stack::Stack;
use super::number;

/// The entries of a stack: frames, and groups of frames that recursion repeats.
#[derive(Default)]
pub(super) struct Entries {
    frames: Frames,
    repeated: Option<String>,
    /// The entry is a group, and so many frames were there before it.
    group: Option<u64>,
}

impl Entries {
    pub(super) fn into_lines(self) -> Vec<String> {
        self.frames.stack.into_lines()
    }
}

impl List for Entries {
    fn element(&mut self) -> Slot<'_> {
        self.repeated = None;
        self.group = None;
        self.frames.current = Frame::default();
        Slot::Object(self)
    }
}

impl Object for Entries {
    fn member(&mut self, name: &str) -> Slot<'_> {
        match name {
            "repeated" => Slot::Text(&mut self.repeated),
            "repeated_frames" => {
                self.group = Some(self.frames.stack.pushed());
                Slot::List(&mut self.frames)
            }
            name => self.frames.current.slot(name),
        }
    }

    fn end(&mut self) {
        let Some(before) = self.group else {
            self.frames.end_of_frame();
            return;
        };
        let Some(times) = self.repeated.as_deref().and_then(number) else {
            return;
        };
        let remark = match self.frames.stack.pushed() - before {
            0 => return,
            1 => format!("... repeated {times} times"),
            frames => format!("... {frames} frames repeated {times} times"),
        };
        self.frames.stack.remark(remark);
    }
}

/// Frames, one after the other; those of a group are in a list of their own.
#[derive(Default)]
struct Frames {
    current: Frame,
    stack: Stack,
}

impl Frames {
    fn end_of_frame(&mut self) {
        let frame = std::mem::take(&mut self.current);
        self.stack.push(&frame.text());
    }
}

impl List for Frames {
    fn element(&mut self) -> Slot<'_> {
        self.current = Frame::default();
        Slot::Object(self)
    }
}

impl Object for Frames {
    fn member(&mut self, name: &str) -> Slot<'_> {
        self.current.slot(name)
    }

    fn end(&mut self) {
        self.end_of_frame();
    }
}

#[derive(Default)]
struct Frame {
    method: Option<String>,
    token: Option<String>,
    file: Option<String>,
    function: Option<String>,
    module: Option<String>,
    offset: Option<String>,
    address: Option<String>,
}

impl Frame {
    fn slot(&mut self, name: &str) -> Slot<'_> {
        Slot::Text(match name {
            "method_name" => &mut self.method,
            "token" => &mut self.token,
            "filename" => &mut self.file,
            "unmanaged_name" => &mut self.function,
            "native_module" => &mut self.module,
            "native_image_offset" => &mut self.offset,
            "native_address" => &mut self.address,
            _ => return Slot::Skip,
        })
    }

    /// `module!function`, as Visual Studio, WinDbg and `dotnet-stack` write frames, managed and native alike: `modes.dll!Program.Main()`,
    /// `libc.so.6!wait4`. Without a symbol `libcoreclr.so+0x614635`, which symbol files resolve; for code that the runtime
    /// made and no module has, its address.
    fn text(&self) -> String {
        let module = self.file.as_ref().or(self.module.as_ref());
        let function = self.method.as_ref().or(self.function.as_ref());
        match (module, function) {
            (Some(module), Some(function)) => format!("{module}!{function}"),
            (None, Some(function)) => function.clone(),
            (Some(module), None) => match (&self.token, &self.offset) {
                (Some(token), _) => format!("{module}!{token}"),
                (None, Some(offset)) => format!("{module}+{offset}"),
                (None, None) => module.clone(),
            },
            (None, None) => self.address.clone().unwrap_or_default(),
        }
    }
}
