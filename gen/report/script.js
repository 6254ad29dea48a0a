"use strict";
for (const block of document.querySelectorAll(".code")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const text = block.querySelector("code");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.append(button);
}
const open = () => document.querySelectorAll(".k[open]");
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const tile of open()) {
    tile.open = false;
    tile.querySelector("summary").focus();
  }
});
document.addEventListener("click", (event) => {
  for (const tile of open()) if (!tile.contains(event.target)) tile.open = false;
});
const atlas = document.getElementById("kernels");
if (atlas) {
  const bar = document.createElement("label");
  bar.className = "tools";
  bar.append("Mark the kernels of filter ");
  const field = document.createElement("input");
  field.type = "number";
  field.min = "0";
  field.addEventListener("input", () => {
    for (const tile of atlas.querySelectorAll(".k")) {
      const users = tile.querySelector("p").textContent.match(/\d+/g) || [];
      tile.classList.toggle("hit", field.value !== "" && users.includes(field.value));
    }
  });
  bar.append(field);
  atlas.querySelector("details.layer").before(bar);
}
