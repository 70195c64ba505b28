'use strict';
// The page follows the node: it fetches itself again and takes over the sections that changed. What is on the page was
// made and escaped by the node; nothing is put together here.

const every = 1000; // milliseconds
let doctorOf = document.body.dataset.boot; // what the diagnosis on the page belongs to

// say tells of the connection, once for each change.
function say(id, text) {
  const at = document.getElementById(id);
  if (at && at.textContent !== text) at.textContent = text;
}

// take puts the sections of a page that was fetched in place of those that differ.
function take(page, whole) {
  document.title = page.title;
  document.body.dataset.boot = page.body.dataset.boot;
  say('who', page.getElementById('who').textContent);
  const main = document.getElementById('main');
  const fresh = [...page.querySelectorAll('main > section')];
  for (const old of main.querySelectorAll(':scope > section')) {
    if (!fresh.some((f) => f.id === old.id)) old.remove();
  }
  fresh.forEach((f, i) => {
    const old = document.getElementById(f.id);
    if (f.id === 'doctor' && old && !whole) return; // fetched by itself
    if (f.id === 'actions' && old && same(old, f)) return; // what was answered, and the focus, stay
    if (old && old.outerHTML === f.outerHTML) return;
    for (const d of f.querySelectorAll('details[id]')) {
      const was = document.getElementById(d.id);
      if (was && was.open) d.open = true;
    }
    const held = old && old.contains(document.activeElement) ? document.activeElement.id : '';
    const node = document.importNode(f, true);
    if (old) old.replaceWith(node);
    else main.insertBefore(node, main.children[i] || null);
    if (held && document.getElementById(held)) document.getElementById(held).focus();
  });
}

function same(old, fresh) {
  const buttons = (s) => [...s.querySelectorAll('button')].map((b) => b.outerHTML).join();
  return buttons(old) === buttons(fresh);
}

async function load(path) {
  const signal = AbortSignal.timeout(20000);
  const answer = await fetch(path, { cache: 'no-store', credentials: 'same-origin', signal });
  if (!answer.ok) throw new Error(`the node answers ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), 'text/html');
}

async function look() {
  doctorOf = document.body.dataset.boot;
  take(await load('/ui/doctor'), true);
}

async function follow() {
  for (;;) {
    await new Promise((done) => setTimeout(done, every));
    if (document.hidden) continue;
    try {
      take(await load('/ui'), false);
      say('link', '');
      if (doctorOf !== document.body.dataset.boot && !document.querySelector('#operation progress')) await look();
    } catch (e) {
      say('link', 'The node does not answer; it may be restarting.');
    }
  }
}

// order calls a method once a person has said yes.
async function order(button) {
  const ask = document.getElementById('ask');
  say('ask-text', button.dataset.ask);
  ask.returnValue = 'no';
  ask.showModal();
  await new Promise((done) => ask.addEventListener('close', done, { once: true }));
  button.focus();
  if (ask.returnValue !== 'yes') return;
  say('answer', `${button.textContent}: ordered`);
  const text = new TextEncoder().encode(button.dataset.body);
  const stream = button.dataset.stream === 'true';
  let body = text;
  if (stream) { // one message in its envelope
    body = new Uint8Array(5 + text.length);
    new DataView(body.buffer).setUint32(1, text.length);
    body.set(text, 5);
  }
  try {
    const answer = await fetch(`/pawl.v1.Node/${button.dataset.method}`, {
      method: 'POST', body, credentials: 'same-origin',
      headers: {
        'Content-Type': stream ? 'application/connect+json' : 'application/json', 'Connect-Protocol-Version': '1',
      },
    });
    const said = await answer.text();
    const failed = !answer.ok || /"error":\{"code"/.test(said);
    const why = failed ? /"message":("(?:[^"\\]|\\.)*")/.exec(said) : null;
    say('answer', `${button.textContent}: ${failed ? (why ? JSON.parse(why[1]) : answer.status) : 'done'}`);
  } catch (e) {
    say('answer', `${button.textContent}: the connection was lost; the node may be restarting`);
  }
}

document.addEventListener('click', (e) => {
  const button = e.target.closest('button[data-method]');
  if (button) order(button);
  if (e.target.closest('#look')) {
    e.preventDefault();
    look().catch(() => say('link', 'The doctor does not answer.'));
  }
});
look().catch(() => say('link', 'The doctor does not answer.'));
follow();
