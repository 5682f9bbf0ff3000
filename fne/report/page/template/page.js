// Light or dark: as the system says, until the reader presses the button; kept where the browser lets a file keep something.
const root = document.documentElement;
const button = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
const tell = () => { button.textContent = isDark() ? "Light page" : "Dark page"; };
const kept = (write) => { try { return write(localStorage); } catch { return null; } };
const before = kept((store) => store.getItem("fne-theme"));
if (before === "dark" || before === "light") root.dataset.theme = before;
button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  kept((store) => store.setItem("fne-theme", root.dataset.theme));
  tell();
});
system.addEventListener("change", tell);
button.hidden = false;
tell();

// A link to a part that is folded away opens it.
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const part = target?.closest("details");
  if (part) {
    part.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", unfold);
unfold();

// What is folded away is printed too.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
