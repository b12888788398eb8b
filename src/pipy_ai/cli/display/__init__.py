"""Print to the terminal: text, tables, Markdown, usage."""
