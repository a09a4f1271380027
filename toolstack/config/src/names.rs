//! Identifiers with a fixed form: UUIDs and Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// A UUID, as 16 bytes in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Uuid(pub [u8; 16]);

/// A text that is no UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a UUID (8-4-4-4-12 hexadecimal digits)")]
pub struct ParseUuidError(pub String);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    /// Takes 32 hexadecimal digits; hyphens may stand anywhere between bytes, as libxl allows.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseUuidError(text.to_owned());
        let mut bytes = [0_u8; 16];
        let mut rest = text.as_bytes();
        for byte in &mut bytes {
            if let Some((b'-', after)) = rest.split_first() {
                rest = after;
            }
            let (pair, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
            *byte = hex_byte(pair).ok_or_else(wrong)?;
            rest = after;
        }
        if rest.is_empty() { Ok(Self(bytes)) } else { Err(wrong()) }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

/// A text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseMacError {
    /// Not six pairs of hexadecimal digits.
    #[error(
        "\"{0}\" is not an Ethernet address (six pairs of hexadecimal digits, 00:16:3e:12:34:56)"
    )]
    Form(String),
    /// The `XX` of an example was left in.
    #[error("the address \"{0}\" still has an example's XX in it")]
    Placeholder(String),
    /// The lowest bit of the first byte is set: an address of many cards, not of one.
    #[error("\"{0}\" is a multicast address: the first byte must be even")]
    Multicast(String),
}

impl Mac {
    /// The address of no card.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ParseMacError::Form(text.to_owned());
        let mut bytes = [0_u8; 6];
        let mut words = text.split(':');
        for byte in &mut bytes {
            let word = words.next().ok_or_else(form)?;
            if word.eq_ignore_ascii_case("xx") {
                return Err(ParseMacError::Placeholder(text.to_owned()));
            }
            *byte = match word.as_bytes() {
                [_] => u8::from_str_radix(word, 16).map_err(|_| form())?,
                pair => hex_byte(pair).ok_or_else(form)?,
            };
        }
        if words.next().is_some() {
            return Err(form());
        }
        if bytes.first().is_some_and(|first| first & 1 != 0) {
            return Err(ParseMacError::Multicast(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    let [high, low] = pair else { return None };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_and_written_in_the_same_form() {
        let text = "0f5c6a1e-1234-4bcd-8eef-00163e123456";
        assert_eq!(text.parse::<Uuid>().map(|uuid| uuid.to_string()), Ok(text.to_owned()));
        assert_eq!(text.replace('-', "").parse::<Uuid>(), text.parse::<Uuid>());
        for wrong in ["", "0f5c", "0f5c6a1e-1234-4bcd-8eef-00163e12345g", &format!("{text}0")] {
            assert_eq!(wrong.parse::<Uuid>(), Err(ParseUuidError(wrong.to_owned())));
        }
    }

    #[test]
    fn an_address_with_the_xx_of_an_example_is_told_apart() {
        let text = "00:16:3e:XX:XX:XX";
        assert_eq!(text.parse::<Mac>(), Err(ParseMacError::Placeholder(text.to_owned())));
        assert_eq!("00:16:3E:0:1:ff".parse(), Ok(Mac([0, 0x16, 0x3e, 0, 1, 0xff])));
        for wrong in ["", "00:16", "00:16:3e:00:00:00:00", "00:16:3e:00:00:+1", "00-16-3e-00-00-00"]
        {
            assert_eq!(wrong.parse::<Mac>(), Err(ParseMacError::Form(wrong.to_owned())));
        }
        let many = "01:16:3e:00:00:00";
        assert_eq!(many.parse::<Mac>(), Err(ParseMacError::Multicast(many.to_owned())));
    }
}
