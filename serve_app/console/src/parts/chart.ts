/** Bars of jobs per hour. In a module of its own: only the dashboard loads the charting library. */
import { BarController, BarElement, CategoryScale, Chart, Legend, LinearScale, Tooltip } from 'chart.js'

Chart.register(BarController, BarElement, CategoryScale, LinearScale, Tooltip, Legend)

export function makeHourlyChart(canvas: HTMLCanvasElement, labels: { detect: string; mask: string }): Chart<'bar'> {
  const style = getComputedStyle(document.documentElement)
  const color = (name: string): string => style.getPropertyValue(name).trim()
  const font = { family: getComputedStyle(document.body).fontFamily, size: 12 }
  const bars = { borderRadius: 2, maxBarThickness: 28, categoryPercentage: 0.82, barPercentage: 1, stack: 'jobs', data: [] }
  return new Chart(canvas, {
    type: 'bar',
    data: {
      labels: [],
      datasets: [
        { ...bars, label: labels.mask, backgroundColor: color('--c1') },
        { ...bars, label: labels.detect, backgroundColor: color('--c2') },
      ],
    },
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: 'index', intersect: false },
      plugins: {
        legend: {
          align: 'end',
          labels: { color: color('--ink-2'), font, boxWidth: 10, boxHeight: 10, useBorderRadius: true, borderRadius: 3 },
        },
        tooltip: { titleFont: font, bodyFont: font, padding: 10, boxPadding: 4 },
      },
      scales: {
        x: {
          stacked: true,
          grid: { display: false },
          border: { color: color('--line-strong') },
          ticks: { color: color('--ink-3'), font, maxRotation: 0, autoSkipPadding: 16 },
        },
        y: {
          stacked: true,
          beginAtZero: true,
          suggestedMax: 4,
          grid: { color: color('--line') },
          border: { display: false },
          ticks: { color: color('--ink-3'), font, precision: 0, maxTicksLimit: 5 },
        },
      },
    },
  })
}
