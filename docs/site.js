// What the theme lacks for keyboards and screen readers: tables that scroll sideways can be focused, corners of tables
// are no headers, and the buttons over code are no landmarks. The theme adds elements while the page is shown, so
// changes are watched.

function mend() {
  for (const each of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) {
    each.tabIndex = 0
    each.setAttribute("role", "group")
    each.setAttribute("aria-label", "Table")
  }
  for (const each of document.querySelectorAll(".md-typeset th:empty")) {
    each.replaceWith(document.createElement("td"))
  }
  for (const each of document.querySelectorAll("nav.md-code__nav:not([role])")) {
    each.setAttribute("role", "none")
  }
}

new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true })
mend()
