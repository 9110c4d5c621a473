// What was sent, delayed and failed: as bars, and as a table for who cannot see bars. Drawn by Chart.js (vendor/).

const SERIES = ["sent", "delayed", "failed"];
const label = { minute: (at) => at.slice(11, 16), hour: (at) => at.slice(11, 16), day: (at) => at.slice(5, 10) };

// Gives what draws the counts of the parts of a time.
export function chart(section) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const canvas = section.querySelector("canvas");
  const bars = new globalThis.Chart(canvas, {
    type: "bar",
    data: { labels: [], datasets: SERIES.map((name) => ({ label: name, data: [], borderRadius: 2, maxBarThickness: 28 })) },
    options: {
      animation: still ? false : { duration: 250 },
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: { legend: { display: false } },
      scales: {
        x: { stacked: true, grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 16 } },
        y: { stacked: true, beginAtZero: true, ticks: { precision: 0 }, border: { display: false } },
      },
    },
  });
  const colour = () => {
    paint(bars, section);
    bars.update("none");
  };
  colour();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colour);
  new MutationObserver(colour).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  return (counts, unit) => {
    bars.data.labels = counts.map(({ start }) => label[unit](start));
    bars.data.datasets.forEach((set) => (set.data = counts.map((count) => count[set.label])));
    bars.update();
    tell(section, counts, unit);
  };
}

// The colours are those of the style sheet, by day and by night.
function paint(bars, section) {
  for (const set of bars.data.datasets) {
    set.backgroundColor = getComputedStyle(section.querySelector(`.swatch-${set.label}`)).backgroundColor;
  }
  const text = getComputedStyle(section.querySelector(".legend")).color;
  for (const axis of Object.values(bars.options.scales)) axis.ticks.color = text;
  bars.options.scales.y.grid = { color: getComputedStyle(section.querySelector(".plot")).borderBottomColor };
}

function tell(section, counts, unit) {
  const totals = SERIES.map((name) => [name, counts.reduce((sum, count) => sum + count[name], 0)]);
  for (const [name, total] of totals) section.querySelector(`[data-total="${name}"]`).textContent = total.toLocaleString("en");
  const said = totals.map(([name, total]) => `${total} ${name}`).join(", ");
  section.querySelector("canvas").setAttribute("aria-label", `By the ${unit}: ${said}. The table below has the same figures.`);
  const rows = counts.map((count) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = label[unit](count.start);
    const cells = SERIES.map((name) => {
      const cell = document.createElement("td");
      cell.textContent = count[name];
      return cell;
    });
    row.append(head, ...cells);
    return row;
  });
  section.querySelector("tbody").replaceChildren(...rows.reverse());
}
