//! xenstore's wire protocol and its client.
