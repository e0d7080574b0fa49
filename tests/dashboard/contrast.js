// Return the texts whose contrast with what is behind them is below 4.5, each with both colours.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
}
function luminance([r, g, b]) {
  const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}
function behind(element) {
  for (let one = element; one; one = one.parentElement) {
    const colour = getComputedStyle(one).backgroundColor;
    if (rgba(colour)[3] === 255) return colour;
  }
  return getComputedStyle(document.documentElement).backgroundColor;
}
const faint = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || ["title", "desc", "option"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  const [ink, paper] = [element.tagName === "text" ? style.fill : style.color, behind(element)];
  const [a, b] = [luminance(rgba(ink)), luminance(rgba(paper))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(`${element.textContent.trim().slice(0, 40)}: ${ink} on ${paper}`);
}
return faint;
