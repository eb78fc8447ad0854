// pg-boss beside us: node pg_boss.mjs COUNT.  Ten loops that fetch and complete one job at a time,
// four by hundreds, and ten by thousands, by its public interface.  It makes its own schema in PGDATABASE.
// SPDX-License-Identifier: PostgreSQL
import { createRequire } from 'node:module';
const require = createRequire(process.env.PEERS_NPM + '/package.json');
const loaded = require('pg-boss');
const PgBoss = loaded.PgBoss ?? loaded.default ?? loaded;
const count = Number(process.argv[2]);
const { PGHOST, PGPORT, PGUSER, PGDATABASE } = process.env;
const boss = new PgBoss({ host: PGHOST, port: Number(PGPORT), user: PGUSER, database: PGDATABASE, max: 20, supervise: false, schedule: false });
boss.on('error', () => {});
await boss.start();
await boss.createQueue('noop');
// Version 11 gave insert() the queue's name as an argument of its own.
const insert = (jobs) => (Number(require('pg-boss/package.json').version.split('.')[0]) <= 10 ? boss.insert(jobs) : boss.insert('noop', jobs));
for (const [loops, batch, jobs] of [[10, 1, Math.min(count, 5000)], [4, 100, count], [10, 1000, count]]) {
  for (let i = 0; i < jobs; i += 1000)
    await insert(Array.from({ length: Math.min(1000, jobs - i) }, () => ({ name: 'noop', data: {} })));
  let done = 0;
  const begin = performance.now();
  await Promise.all(Array.from({ length: loops }, async () => {
    while (done < jobs) {
      const got = await boss.fetch('noop', { batchSize: batch });
      if (!got || got.length === 0) break;
      await boss.complete('noop', got.map((job) => job.id));
      done += got.length;
    }
  }));
  console.log(`pg-boss execute_c${loops}_batch${batch} ${(done / (performance.now() - begin) * 1000).toFixed(0)} jobs/s`);
}
process.exit(0);
