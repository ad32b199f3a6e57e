/**
 * The names of the simulated world. People, streets, towns and firms are invented; the towns lie where their state
 * and zip code would be. Commas, apostrophes, slashes and zip codes without their leading zero are there on purpose:
 * the real rows have them.
 */
const words = (text: string) => text.trim().split(/\s+/)
const entries = (text: string) => text.trim().split(/\s*[|\n]\s*/)

export const FIRST_NAMES = {
  F: words('Adela Briony Calla Dorrit Elspeth Fenna Greta Hollis Isaura Junia Kestrel Linnea Maris Nerys Oriel Petra'),
  M: words('Alden Bram Corwin Dashiell Emrys Fintan Gideon Hale Ivo Jorah Kell Leif Merrick Nico Osric Perrin Quill'),
}

/** Of people and of firms. */
export const LAST_NAMES = words(`
  Ashgrove Brindlewick Calloway-Finch Copperfell D'Arlan Dunmarrow Eastlake Fairweather-Pike Fernhollow Garrowby
  Halvard Inglestone Jessamy Kettleburn Larkmoor Marchbank Nettlefold O'Farrow O'Tarvin Pellworth Quillon Ravensby
  Silverthorn Tamsworth Umberland Varnhill Wetherby-Cole Yarrowdale`)

export const STREETS = entries(`
  Alder Bend|Beacon Row Apt. 12|Cinder Lane|Dovecote Avenue Suite 310|Elm Hollow|Foundry Street|Granary Court
  Harbor Steps Apt. 7|Juniper Way|Lantern Road|Millrace Drive|Orchard Terrace`)

export const JOBS = entries(`
  Baker|Beekeeper, commercial|Children's librarian|Editor, film/video|Engineer, bridges|Lighthouse keeper
  Museum/gallery guide|Nurse, night ward|Potter|Ship's carpenter|Surveyor, land/geomatics
  Teacher, primary school|Tram driver|Women's refuge manager`)

/** city | state | zip | latitude | longitude | people */
export const TOWNS = `
  Alderbrook|VT|5049|43.9812|-72.4410|1204
  Bayberry Point|MA|2641|41.7520|-70.0812|10240
  Birch Landing|ME|4438|44.6103|-68.9217|861
  Cedar Flats|OR|97741|44.6311|-121.1305|7410
  Copper Gulch|AZ|85541|34.2403|-111.3118|15733
  Cottonwood Bluff|NE|68847|40.7015|-99.0830|33520
  Dry Fork|WY|82435|44.7540|-108.7580|6104
  Eagle's Rest|MT|59405|47.5002|-111.2998|60442
  Fallow Springs|KS|67530|38.3610|-98.7702|15102
  Gull Harbor|NJ|8401|39.3601|-74.4350|39075
  Hickory Gap|TN|37862|35.8712|-83.5620|18339
  Iron Mills|PA|15901|40.3261|-78.9190|20402
  Juniper City|CO|81501|39.0702|-108.5601|65560
  Kingfisher Lake|MN|56501|46.8180|-95.8450|9869
  Lone Pecan|TX|76801|31.7240|-98.9811|906233
  Magnolia Reach|MS|39530|30.4110|-88.9205|45908
  Northlight|WA|98221|48.5020|-122.6230|17637
  Palmetto Bay|FL|33157|25.6140|-80.3470|312458
  Quarry Heights|OH|44202|41.3170|-81.3460|1577602
  Red Mesa|NM|87301|35.5280|-108.7420|21899
  Saltmarsh|GA|31520|31.1750|-81.4910|16210
  Two Rivers Junction|CA|95991|39.1350|-121.6280|2383912
  Willow Ferry|IL|62301|39.9320|-91.3880|39463
  York's Crossing|VA|22802|38.4610|-78.8690|51814`
  .trim()
  .split('\n')
  .map((line) => {
    const [city, state, zip, lat, long, city_pop] = line.split('|') as [string, string, ...string[]]
    return { city, state, zip: Number(zip), lat: Number(lat), long: Number(long), city_pop: Number(city_pop) }
  })
