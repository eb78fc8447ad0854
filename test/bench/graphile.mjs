// graphile-worker beside us: node graphile.mjs execute COUNT | batched COUNT | latency COUNT.
// Its default settings, ten jobs at once; batched: the settings of its own performance page that gave most.  The connection comes from PGHOST, PGPORT,
// PGUSER and PGDATABASE.  Client and server of this peer share the machine.
// SPDX-License-Identifier: PostgreSQL
import { createRequire } from 'node:module';
import EventEmitter from 'node:events';
const require = createRequire(process.env.PEERS_NPM + '/package.json');
const { makeWorkerUtils, run, Logger } = require('graphile-worker');
const pg = require('pg');
const [mode, countText] = process.argv.slice(2);
const count = Number(countText);
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const emit = (metric, value, unit) => console.log(`graphile-worker ${metric} ${value.toFixed(unit === 'ms' ? 3 : 0)} ${unit}`);
const logger = new Logger(() => () => {});
const pool = new pg.Pool({ max: 30 });
pool.on('error', () => {});
pool.on('connect', (client) => client.on('error', () => {}));
const utils = await makeWorkerUtils({ pgPool: pool, logger });
await utils.migrate();
await pool.query('TRUNCATE graphile_worker._private_jobs');
const start = (concurrency, noop, worker = {}) => run({ preset: { worker }, pgPool: pool, concurrency, noHandleSignals: true, logger, events: new EventEmitter(), taskList: { noop } });
const left = async () => Number((await pool.query('SELECT count(*) AS n FROM graphile_worker._private_jobs')).rows[0].n);
const fill = async () => {
  for (let i = 0; i < count; i += 1000)
    await utils.addJobs(Array.from({ length: Math.min(1000, count - i) }, () => ({ identifier: 'noop', payload: {} })));
  await pool.query('VACUUM ANALYZE graphile_worker._private_jobs');
};
const execute = async (metric, concurrency, worker) => {
  await fill();
  let n = 0;
  const begin = performance.now();
  const runner = await start(concurrency, () => { n++; }, worker);
  while (n < count) await sleep(5);
  while (await left() > 0) await sleep(5);
  emit(metric, count / (performance.now() - begin) * 1000, 'jobs/s');
  await runner.stop();
};
if (mode === 'execute') {
  await execute('execute_c10_default', 10);
} else if (mode === 'batched') {
  await execute('execute_c24_queue500', 24, { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 });
  await execute('execute_c10_queue1000', 10, { localQueue: { size: 1000 }, completeJobBatchDelay: 5, failJobBatchDelay: 5 });
} else {
  let begun, done;
  const starts = [], ends = [];
  const runner = await start(1, () => { begun = performance.now(); done(); });
  await sleep(500);
  for (let i = 0; i < count; i++) {
    const promise = new Promise((r) => { done = r; });
    const sent = performance.now();
    const job = await utils.addJob('noop', {});
    await promise;
    // The end is the row's absence: the event comes before it is written.
    while ((await pool.query({ name: 'gone', text: 'SELECT 1 FROM graphile_worker._private_jobs WHERE id = $1', values: [job.id] })).rows.length);
    ends.push(performance.now() - sent);
    starts.push(begun - sent);
    await sleep(5);
  }
  const at = (a, p) => a.sort((x, y) => x - y)[Math.min(a.length - 1, Math.floor(p * a.length))];
  for (const [name, a] of [['send_to_start', starts], ['send_to_finish', ends]]) {
    emit(`${name}_p50`, at(a, 0.5), 'ms');
    emit(`${name}_p99`, at(a, 0.99), 'ms');
  }
  await runner.stop();
}
process.exit(0);
