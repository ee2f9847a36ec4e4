"""Commands for more texts than one sitting takes."""
