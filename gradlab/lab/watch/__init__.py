"""`gradlab watch`: a model of the user's own, trained and recorded like gradlab's."""
