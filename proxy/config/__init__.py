"""Configuration: YAML text to validated documents (`load`), documents to Rules (`build`), and how edits arrive (`watch`)."""
