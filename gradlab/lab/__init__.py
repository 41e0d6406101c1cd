"""An experiment from its plan to its tables: trained here, in workers or on a cluster; remedies; `watch`."""
