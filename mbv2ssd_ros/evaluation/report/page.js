'use strict';

// Show one class, or all (label 0): everything on the page that knows of classes follows.
function choose(label) {
  const all = label === '0';
  document.body.classList.toggle('one-class', !all);
  for (const part of document.querySelectorAll('[data-scope]')) {
    part.toggleAttribute('hidden', part.dataset.scope !== label);
  }
  for (const part of document.querySelectorAll('[data-label]')) {
    part.classList.toggle('chosen', !all && part.dataset.label === label);
  }
  for (const row of document.querySelectorAll('#class-table tbody tr')) {
    row.hidden = !all && row.dataset.label !== label;
  }
  for (const figure of document.querySelectorAll('[data-labels]')) {
    figure.hidden = !all && !figure.dataset.labels.split(' ').includes(label);
  }
  document.getElementById('class-filter').value = label;
}

// The first press sorts names upwards and figures downwards, the next one the other way.
function sortBy(heading) {
  const table = heading.closest('table');
  const column = heading.cellIndex;
  const rows = Array.from(table.tBodies[0].rows);
  const text = heading.classList.contains('text');
  const before = heading.getAttribute('aria-sort');
  const ascending = before ? before === 'descending' : text;
  rows.sort((a, b) => {
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.value);
    const order = text ? x.localeCompare(y) : x - y;
    return ascending ? order : -order;
  });
  table.tBodies[0].append(...rows);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
}

const filter = document.getElementById('class-filter');
filter.addEventListener('change', () => choose(filter.value));
// without classes there is nothing to choose
document.getElementById('chooser').hidden = filter.options.length === 1;

document.addEventListener('click', (event) => {
  const heading = event.target.closest('table.sortable thead th');
  const chooser = event.target.closest('[data-choose]');
  const curve = event.target.closest('.curve[data-label]');
  const picture = event.target.closest('.gallery figure');
  if (heading) sortBy(heading);
  if (chooser || curve) {
    const label = chooser ? chooser.dataset.choose : curve.dataset.label;
    choose(label === filter.value ? '0' : label);
  }
  if (picture) picture.classList.toggle('large');
});
document.body.classList.add('has-script');
