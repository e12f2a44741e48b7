// Before anything is drawn: the colours that this browser was switched to. Without a choice, those of the system.
try {
  const theme = localStorage.getItem("mainstem.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // No storage here, no choice.
}
