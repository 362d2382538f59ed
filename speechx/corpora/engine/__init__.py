"""What all readers share: tables, paths and languages on the way in; measuring, copies and
manifests on the way out."""
