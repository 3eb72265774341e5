"""A page of the report, open in a browser."""


class OpenPage:
    """An open page, and everything that went wrong while it was open."""

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        self.tab = self.context.new_page()
        self.requests, self.troubles = [], []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda message: self.troubles.append(message.text))
        self.tab.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.troubles.append(dialog.message), dialog.dismiss()))
        self.address = path.as_uri()
        self.tab.goto(self.address)

    def test(self, name):
        return self.tab.get_by_test_id(name)
