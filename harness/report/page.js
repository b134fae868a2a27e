// Plots as files, from the one copy in the page; without a script the page is whole but for these buttons.
for (const button of document.querySelectorAll("button[data-as]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const svg = button.closest("figure").querySelector("svg").cloneNode(true);
    const tokens = document.getElementById("tokens").textContent;
    const { width, height } = svg.viewBox.baseVal;
    const pixels = button.dataset.as === "png";
    const style = document.createElementNS(svg.namespaceURI, "style");
    style.textContent = (pixels ? tokens.split("@media")[0].replace("light dark", "light") : tokens)
      + "svg{background:var(--paper);font-family:system-ui,sans-serif}";
    svg.prepend(style);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    const address = "data:image/svg+xml," + encodeURIComponent(new XMLSerializer().serializeToString(svg));
    const save = (href) => {
      const link = document.createElement("a");
      link.download = button.dataset.name + "." + button.dataset.as;
      link.href = href;
      link.click();
    };
    if (!pixels) return save(address);
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      const scale = 960 / width;
      canvas.width = 960;
      canvas.height = Math.round(height * scale);
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      save(canvas.toDataURL("image/png"));
    };
    image.src = address;
  });
}
