//! (room not furnished)
