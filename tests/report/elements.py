"""What stands in a page: tags, scripts, styles and text."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """Collects tags with their attributes, and the text inside scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.inside = []
        self.scripts = []
        self.styles = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "wbr":
            self.inside.append(tag)
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data):
        self.text += data
        if self.inside[-1:] == ["script"]:
            self.scripts[-1] += data
        if self.inside[-1:] == ["style"]:
            self.styles[-1] += data
