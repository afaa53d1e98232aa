// Figures at full size: the image that is on the page already, in a dialog; Escape closes it.
const dialog = document.getElementById("full-size"), shown = dialog.querySelector("img");
for (const image of document.querySelectorAll(".plate img")) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = "Show at full size";
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    shown.src = image.src;
    shown.alt = image.alt;
    dialog.showModal();
    dialog.scrollTo(0, 0);
  });
}
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
