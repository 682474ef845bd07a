"use strict";
const videos = [...document.querySelectorAll("video")];
let current = -1;
function choose(index) {
  if (!videos.length) return;
  if (current >= 0) { videos[current].pause(); videos[current].closest("article").classList.remove("current"); }
  current = (index + videos.length) % videos.length;
  const card = videos[current].closest("article");
  card.classList.add("current");
  card.scrollIntoView({ block: "nearest" });
  card.tabIndex = -1;
  card.focus(); // a video with the focus takes the space bar itself
}
function turn() {
  const root = document.documentElement;
  const isDark = root.classList.contains("dark") ||
    (!root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches);
  root.classList.remove("dark", "light");
  root.classList.add(isDark ? "light" : "dark");
}
document.getElementById("dark").addEventListener("click", turn);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase(), video = videos[current];
  if (key === "j") choose(current + 1);
  else if (key === "k") choose(current - 1);
  else if (key === "d") turn();
  else if (video && key === " " && event.target.tagName !== "VIDEO") { if (video.paused) video.play(); else video.pause(); }
  else if (video && (key === "." || key === ",")) { video.pause(); video.currentTime += (key === "." ? 1 : -1) / 6; }
  else return;
  event.preventDefault();
});
