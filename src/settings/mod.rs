//! Sources to typed settings.
