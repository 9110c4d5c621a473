// Emails by time of submission and status as a bar chart, drawn by Chart.js (vendor/), and as a table with the same numbers for screen readers.

const SERIES = ["sent", "waiting", "bounced", "failed", "other"];
const formatStart = { minute: (start) => start.slice(11, 16), hour: (start) => start.slice(11, 16), day: (start) => start.slice(5, 10) };

// Returns a function that draws buckets of a resolution ("minute", "hour" or "day").
export function createChart(section) {
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const canvas = section.querySelector("canvas");
  const chart = new globalThis.Chart(canvas, {
    type: "bar",
    data: { labels: [], datasets: SERIES.map((name) => ({ label: name, data: [], borderRadius: 2, maxBarThickness: 28 })) },
    options: {
      animation: reducedMotion ? false : { duration: 250 },
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: { legend: { display: false } },
      scales: {
        x: { stacked: true, grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 16 } },
        y: { stacked: true, beginAtZero: true, ticks: { precision: 0 }, border: { display: false } },
      },
    },
  });
  const updateColors = () => {
    applyColors(chart, section);
    chart.update("none");
  };
  updateColors();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", updateColors);
  new MutationObserver(updateColors).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  return (buckets, resolution) => {
    chart.data.labels = buckets.map(({ start }) => formatStart[resolution](start));
    chart.data.datasets.forEach((dataset) => (dataset.data = buckets.map((bucket) => bucket[dataset.label])));
    chart.update();
    updateText(section, buckets, resolution);
  };
}

// Colors come from the style sheet, so that the chart follows the light and the dark theme.
function applyColors(chart, section) {
  for (const dataset of chart.data.datasets) {
    dataset.backgroundColor = getComputedStyle(section.querySelector(`.swatch-${dataset.label}`)).backgroundColor;
  }
  const text = getComputedStyle(section.querySelector(".legend")).color;
  for (const axis of Object.values(chart.options.scales)) axis.ticks.color = text;
  chart.options.scales.y.grid = { color: getComputedStyle(section.querySelector(".plot")).borderBottomColor };
}

function updateText(section, buckets, resolution) {
  const totals = SERIES.map((name) => [name, buckets.reduce((sum, bucket) => sum + bucket[name], 0)]);
  for (const [name, total] of totals) section.querySelector(`[data-total="${name}"]`).textContent = total.toLocaleString("en");
  const submitted = totals.reduce((sum, [, total]) => sum + total, 0);
  const summary = totals.map(([name, total]) => `${total} ${name === "other" ? "canceled or suppressed" : name}`).join(", ");
  const label = `${submitted} emails by ${resolution} of submission: ${summary}. The table below shows the same numbers.`;
  section.querySelector("canvas").setAttribute("aria-label", label);
  const rows = buckets.map((bucket) => tableRow(bucket, formatStart[resolution](bucket.start)));
  section.querySelector("tbody").replaceChildren(...rows.reverse());
}

function tableRow(bucket, start) {
  const row = document.createElement("tr");
  const header = document.createElement("th");
  header.scope = "row";
  header.textContent = start;
  const cells = SERIES.map((name) => {
    const cell = document.createElement("td");
    cell.textContent = bucket[name];
    return cell;
  });
  row.append(header, ...cells);
  return row;
}
