"""What people look at: the terminal, figures, pages and tables. rich, matplotlib and plotly live here."""
