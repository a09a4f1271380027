//! How the structures and numbers of this crate are declared, so that each layout is written once
//! and can be compared with the C headers.

use core::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One field of a structure, for comparison with the C headers.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The Rust name. A leading underscore marks padding, which C may not name.
    pub name: &'static str,
    /// What C calls it (a path within the structure); empty when C has no such field.
    pub c_name: &'static str,
    /// Offset in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// One structure, for comparison with the C headers.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The Rust name.
    pub name: &'static str,
    /// The C type; empty when C leaves it unnamed.
    pub c_name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// The fields in order.
    pub fields: &'static [Field],
}

/// A virtual address in the caller's memory, as a hypercall argument gives it: an allegation
/// until the copy through it has succeeded. Same layout as C's `XEN_GUEST_HANDLE(T)` and
/// `XEN_GUEST_HANDLE_64(T)` on x86-64.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct GuestPtr<T>(u64, PhantomData<T>);

impl<T> GuestPtr<T> {
    /// The null handle, which several operations give a meaning.
    pub const NULL: GuestPtr<T> = GuestPtr(0, PhantomData);

    /// The handle of this address.
    pub const fn new(addr: u64) -> Self {
        GuestPtr(addr, PhantomData)
    }

    /// The address.
    pub const fn addr(self) -> u64 {
        self.0
    }

    /// Whether it is null.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The same address, seen as pointing to another type.
    pub const fn cast<U>(self) -> GuestPtr<U> {
        GuestPtr(self.0, PhantomData)
    }
}

impl<T> Clone for GuestPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for GuestPtr<T> {}

impl<T> PartialEq for GuestPtr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for GuestPtr<T> {}

impl<T> Default for GuestPtr<T> {
    fn default() -> Self {
        Self::NULL
    }
}

impl<T> core::fmt::Debug for GuestPtr<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "GuestPtr({:#x})", self.0)
    }
}

/// Declares the `repr(C)` structures of a module with their C names and sizes, asserts the sizes
/// and collects everything in the module's `LAYOUTS`. One use in a module, so that none is missed.
///
/// `pub struct Name("C type"): size { pub field("C path"): Type, }`; the C path is left out where
/// the names agree and empty where C has no such field; names with a leading underscore are padding.
macro_rules! layouts {
    (@c $field:ident) => { stringify!($field) };
    (@c $field:ident $c:literal) => { $c };
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident($c:literal): $size:literal {
            $( $(#[$fmeta:meta])* pub $field:ident $(($cf:literal))? : $ty:ty, )*
        }
    )*) => {
        $(
            $(#[$meta])*
            #[derive(
                Clone, Copy, Debug,
                zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
            )]
            #[repr(C)]
            pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* }
            const _: () = assert!(core::mem::size_of::<$name>() == $size);
        )*

        /// The structures of this module, for comparison with the C headers.
        pub const LAYOUTS: &[$crate::layout::Layout] = &[$(
            $crate::layout::Layout {
                name: stringify!($name),
                c_name: $c,
                size: core::mem::size_of::<$name>(),
                fields: &[$(
                    $crate::layout::Field {
                        name: stringify!($field),
                        c_name: layouts!(@c $field $($cf)?),
                        offset: core::mem::offset_of!($name, $field),
                        size: core::mem::size_of::<$ty>(),
                    },
                )*],
            },
        )*];
    };
}

/// Declares a number that a guest supplies: an open set with named values, never a Rust enum.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($int:ty) {
            $( $(#[$vmeta:meta])* $value:ident = $number:expr, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub $int);

        impl $name {
            $( $(#[$vmeta])* pub const $value: $name = $name($number); )*

            /// The known values with their names.
            pub const ALL: &'static [(&'static str, $name)] =
                &[$( (stringify!($value), $name::$value), )*];

            /// The name of a known value, for logs.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $( $name::$value => Some(stringify!($value)), )*
                    _ => None,
                }
            }
        }
    };
}

/// Declares documented constants of one type.
macro_rules! consts {
    ($int:ty; $( $(#[$meta:meta])* $name:ident = $value:expr, )*) => {
        $( $(#[$meta])* pub const $name: $int = $value; )*
    };
}

pub(crate) use {consts, layouts, open_enum};
